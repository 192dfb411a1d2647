"""The Python bindings of TensorRT and TensorRT-RTX, and what the installed version can do.

Versions are told apart by what their bindings have, never by their number: 8.5 (JetPack 5) to 11.x and RTX share most names.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from profilers.errors import RuntimeNotInstalledError

_MODULES = {"tensorrt": ("tensorrt",), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
_ADVICE = {
    "tensorrt": (
        "on a Jetson use the Python that JetPack's TensorRT was installed for (/usr/bin/python3, not a virtual environment, "
        "not pip), elsewhere install it with 'pip install tensorrt'"
    ),
    "tensorrt-rtx": "install it with 'pip install tensorrt-rtx' (Linux x86-64 or Windows)",
}


def import_bindings(runtime: str) -> Any:
    """Import the module of "tensorrt" or "tensorrt-rtx".

    Raises:
        RuntimeNotInstalledError: It is not there, or cannot be loaded.
    """
    reason = ""
    for name in _MODULES[runtime]:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError) as error:
            reason = reason or " ".join(str(error).split())[:300]
    raise RuntimeNotInstalledError(
        f"runtime {runtime!r} needs the Python package {_MODULES[runtime][0]!r}, which cannot be imported here ({reason}); "
        f"{_ADVICE[runtime]}."
    )


@dataclass(frozen=True)
class Features:
    """What the bindings have."""

    strong_typing: bool  # from 10: types in the graph decide what is computed
    explicit_batch_flag: bool  # to 10: networks with a batch dimension must be asked for
    precision_flags: bool  # to 10: flags allow what the builder may compute in
    levels: bool  # from 8.6: builder optimisation levels
    compute_capabilities: bool  # RTX: engines for GPUs that are not there
    runtime_config: bool  # RTX and 10.16: settings of an execution context

    @staticmethod
    def of(trt: Any) -> Features:
        return Features(
            strong_typing=hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"),
            explicit_batch_flag=hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH"),
            precision_flags=hasattr(trt.BuilderFlag, "FP16"),
            levels=hasattr(trt.IBuilderConfig, "builder_optimization_level"),
            compute_capabilities=hasattr(trt.IBuilderConfig, "set_compute_capability"),
            runtime_config=hasattr(trt.ICudaEngine, "create_runtime_config"),
        )


def make_log(trt: Any) -> Any:
    """A logger that keeps errors and warnings, for messages: TensorRT returns None where others raise."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(" ".join(message.split()))
            elif severity == trt.ILogger.WARNING:
                self.warnings.append(" ".join(message.split()))

        def reason(self) -> str:
            """What TensorRT complained about first; the errors after it follow from it."""
            return self.errors[0][:300] if self.errors else "it gave no reason"

    return Log()
