"""Software that runs models, one file each; nothing is imported before it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from profilers.errors import RuntimeNotInstalledError

if TYPE_CHECKING:
    from profilers.runtimes.base import Runtime

NAMES = ("onnxruntime", "tensorrt", "tensorrt-rtx", "replay:RESULTS.jsonl")


def open_runtime(name: str) -> Runtime:
    """Return the runtime of that name.

    Args:
        name: One of `NAMES`. `tensorrt:MODE` sets a timing mode, such as "tensorrt:gpu/transfer"; `replay:PATH` answers from
            recorded results.

    Raises:
        RuntimeNotInstalledError: There is no runtime of that name.
        JobError: The timing mode is wrong, or the recorded results cannot be read.
    """
    kind, _, argument = name.partition(":")
    if name == "onnxruntime":
        from profilers.runtimes.onnxruntime import OnnxRuntime

        return OnnxRuntime()
    if kind in ("tensorrt", "tensorrt-rtx"):
        from profilers.runtimes.tensorrt import open_tensorrt

        return open_tensorrt(kind, argument)
    if kind == "replay" and argument:
        from profilers.runtimes.replay import ReplayRuntime

        return ReplayRuntime.from_results(Path(argument))
    raise RuntimeNotInstalledError(f"the runtime must be one of {', '.join(NAMES)}, but {name!r} came; choose one.")
