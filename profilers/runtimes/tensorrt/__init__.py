"""TensorRT 8.5 to 11.x and TensorRT-RTX, through their Python bindings or through trtexec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from profilers.errors import RuntimeNotInstalledError
from profilers.runtimes.tensorrt.bindings import import_bindings
from profilers.runtimes.tensorrt.runtime import TensorRtRuntime
from profilers.runtimes.tensorrt.timing_mode import TimingMode
from profilers.runtimes.tensorrt.trtexec import TrtexecRuntime, find_trtexec

if TYPE_CHECKING:
    from profilers.runtimes.base import Runtime


def open_tensorrt(name: str, words: str) -> Runtime:
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
