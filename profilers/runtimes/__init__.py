"""Software that runs models, one file each; nothing is imported before it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from profilers.errors import RuntimeNotInstalledError

if TYPE_CHECKING:
    from profilers.runtimes.base import Runtime
    from profilers.runtimes.tensorrt import EngineBuilder

NAMES = (
    "onnxruntime",
    "onnxruntime-cuda",
    "openvino",
    "litert",
    "executorch",
    "tensorrt",
    "tensorrt-rtx",
    "replay:RESULTS.jsonl",
)


def open_runtime(name: str) -> Runtime:
    """Return the runtime of that name.

    Args:
        name: One of `NAMES`. `tensorrt:MODE` sets a timing mode, such as "tensorrt:gpu/transfer"; `replay:PATH` answers from
            recorded results; `litert:adb:SERIAL/PATH` runs models on a phone, with the benchmark program that lies there.

    Raises:
        RuntimeNotInstalledError: There is no runtime of that name.
        JobError: The timing mode is wrong, or the recorded results cannot be read.
        TransportError: The serial of the phone or the path there cannot be one.
    """
    kind, _, argument = name.partition(":")
    if argument.startswith("adb:"):
        from profilers.runtimes.phone import open_phone_runtime

        return open_phone_runtime(kind, argument)
    if name in ("onnxruntime", "onnxruntime-cuda"):
        from profilers.runtimes.onnxruntime import OnnxRuntime

        return OnnxRuntime(on_gpu=name == "onnxruntime-cuda")
    if name == "openvino":
        from profilers.runtimes.openvino import OpenVinoRuntime

        return OpenVinoRuntime()
    if name == "litert":
        from profilers.runtimes.litert import LiteRtRuntime

        return LiteRtRuntime()
    if name == "executorch":
        from profilers.runtimes.executorch import ExecuTorchRuntime

        return ExecuTorchRuntime()
    if kind in ("tensorrt", "tensorrt-rtx"):
        from profilers.runtimes.tensorrt import open_tensorrt

        return open_tensorrt(kind, argument)
    if kind == "replay" and argument:
        from profilers.runtimes.replay import ReplayRuntime

        return ReplayRuntime.from_results(Path(argument))
    raise RuntimeNotInstalledError(f"the runtime must be one of {', '.join(NAMES)}, but {name!r} came; choose one.")


def open_builder(name: str) -> EngineBuilder:
    """Return the runtime of that name, if it builds engines.

    Raises:
        RuntimeNotInstalledError: It does not, or there is none of that name.
        JobError: The timing mode is wrong.
    """
    kind, _, argument = name.partition(":")
    if kind in ("tensorrt", "tensorrt-rtx"):
        from profilers.runtimes.tensorrt import open_tensorrt

        return open_tensorrt(kind, argument)
    raise RuntimeNotInstalledError(
        f"engines are built by the runtimes tensorrt and tensorrt-rtx, but {name!r} came; choose one of them."
    )


def model_suffix(name: str) -> str:
    """The kind of file to measure on a runtime: ".tflite", ".pte", or ".onnx"; for a replay, that of what was recorded.

    Raises:
        JobError: The recorded results cannot be read.
    """
    kind, _, argument = name.partition(":")
    if kind == "replay" and argument and Path(argument).exists():
        from profilers.runtimes.replay import ReplayRuntime

        kind = ReplayRuntime.from_results(Path(argument)).target.runtime
    return {"litert": ".tflite", "executorch": ".pte"}.get(kind, ".onnx")
