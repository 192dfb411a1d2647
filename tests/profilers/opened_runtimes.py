"""Every runtime by a name, opened the same way by a test and by its worker, with a model that it takes.

Imports stand in the functions: a worker starts with those of its own runtime.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from profilers.runtimes import model_suffix, open_runtime
from profilers.runtimes.base import Runtime

NAMES = ("onnxruntime", "openvino", "litert", "executorch", "tensorrt", "trtexec", "fake", "replay", "phone")
RECORDING = "recorded.jsonl"


def open_for_test(name: str, folder: Path) -> Runtime:
    """Open a runtime whose files lie in a folder."""
    if name == "tensorrt":
        return _open_tensorrt(folder)
    if name == "trtexec":
        return _open_trtexec(folder)
    if name == "fake":
        from profilers.runtimes.fake import FakeRuntime

        return FakeRuntime(lambda name, now: 1_000_000)
    if name == "replay":
        return open_runtime(f"replay:{folder / RECORDING}")
    if name == "phone":
        from tests.profilers.fake_phone import SERIAL

        return open_runtime(f"litert:adb:{SERIAL}")
    return open_runtime(name)


def write_model_for(name: str, path: Path) -> Path:
    """Write a model in the form that the runtime takes; the path gets its ending."""
    from nat_deploy.conversion import convert
    from tests.profilers.fake_phone import write_phone_model
    from tests.profilers.small_models import build_gemm, write_model

    if name == "phone":
        return write_phone_model(path.with_suffix(".tflite"))
    suffix = model_suffix(name)
    path = path.with_suffix(suffix)
    if suffix == ".onnx":
        return write_model(path)
    path.write_bytes(convert(build_gemm(batch=1), suffix))
    return path


def _open_tensorrt(folder: Path) -> Runtime:
    from profilers.runtimes.tensorrt.runtime import TensorRtRuntime
    from profilers.runtimes.tensorrt.timing_mode import TimingMode
    from tests.profilers.fake_tensorrt import TENSORRT, FakeCuda, make_bindings

    cuda = FakeCuda()
    bindings = make_bindings(TENSORRT[-1], cuda)
    mode = TimingMode.parse("latency")
    return TensorRtRuntime("tensorrt", mode, bindings=lambda name: bindings, cuda=lambda: cuda, cache_folder=folder)


def _open_trtexec(folder: Path) -> Runtime:
    from profilers.runtimes.tensorrt.trtexec import TrtexecRuntime
    from tests.profilers import fake_trtexec

    class TrtexecWithoutGpu(TrtexecRuntime):
        def check_available(self) -> None:
            self._helped()

        def accelerator(self) -> None:
            return None

    program = folder / "trtexec"
    command = shlex.join([sys.executable, "-S", fake_trtexec.__file__, "10.3", str(folder)])
    if not program.exists():
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
    return TrtexecWithoutGpu(str(program))
