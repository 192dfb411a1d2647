"""TensorRT 8.5 to 11.x and TensorRT-RTX, through their Python bindings or through trtexec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from profilers.errors import RuntimeNotInstalledError
from profilers.runtimes.tensorrt.bindings import import_bindings
from profilers.runtimes.tensorrt.builder import BuiltEngine
from profilers.runtimes.tensorrt.engine_record import EngineRecord
from profilers.runtimes.tensorrt.runtime import TensorRtRuntime
from profilers.runtimes.tensorrt.timing_mode import TimingMode
from profilers.runtimes.tensorrt.trtexec import TrtexecRuntime, find_trtexec

if TYPE_CHECKING:
    from profilers.runtimes.base import Session


class EngineBuilder(Protocol):
    """Builds engines from ONNX files, and runs them where a GPU is."""

    @property
    def name(self) -> str:
        """Name in targets."""

    def check_builds(self) -> None:
        """Raises: RuntimeNotInstalledError when something that building needs is not there."""

    def build(self, path: Path, *, precision: str, batch_size: int, compute_capabilities: Sequence[str] = ()) -> BuiltEngine:
        """Build an engine, as `TensorRtRuntime.build`."""

    def runs_here(self, record: EngineRecord) -> bool:
        """Say whether `load` can run an engine that was just built."""

    def load(self, path: str | Path, *, batch_size: int = 1) -> Session:
        """Load an engine."""


def open_tensorrt(name: str, words: str) -> TensorRtRuntime | TrtexecRuntime:
    """Return the runtime "tensorrt" or "tensorrt-rtx" in a timing mode; without bindings, trtexec if it is there.

    Raises:
        JobError: The mode is wrong, or not one that trtexec can time.
    """
    mode = TimingMode.parse(words)
    if name == "tensorrt":
        try:
            import_bindings(name)
        except RuntimeNotInstalledError:
            program = find_trtexec()
            if program is not None:
                return TrtexecRuntime(program, words)
    return TensorRtRuntime(name, mode)
