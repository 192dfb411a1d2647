"""ONNX Runtime on the CPU, or on an NVIDIA GPU through its CUDA provider."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilers.errors import ModelFileError, RuntimeFailedError, RuntimeNotInstalledError
from profilers.runtimes.base import CheckedSession, TensorSpec, check_model_file, fill_shape, one_line

if TYPE_CHECKING:
    from profilers.runtimes.base import Array

_CUDA = "CUDAExecutionProvider"
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


class OnnxRuntime:
    """Runs the graph as it is: precision lives in the ONNX file.

    On a GPU a run ends when the output is back in the memory of the host. Float32 is never computed in TF32, which the provider
    would take by default: its times would be those of another precision.
    """

    clock = staticmethod(time.perf_counter_ns)

    def __init__(self, *, on_gpu: bool = False) -> None:
        self.name = "onnxruntime-cuda" if on_gpu else "onnxruntime"
        self._providers = [(_CUDA, {"use_tf32": "0"})] if on_gpu else ["CPUExecutionProvider"]
        self._on_gpu = on_gpu
        self.loads_into_this_process = not on_gpu

    def check_available(self) -> None:
        offered = _import().get_available_providers()
        if self._on_gpu and _CUDA not in offered:
            raise RuntimeNotInstalledError(
                f"runtime {self.name!r} needs an ONNX Runtime with {_CUDA}, but the one that is installed offers "
                f"{', '.join(offered)}; on a machine with an NVIDIA GPU, install 'onnxruntime-gpu' in place of 'onnxruntime'."
            )
        self.accelerator()

    def accelerator(self) -> str | None:
        """Name of the GPU, where one is used and it is not part of the board."""
        if not self._on_gpu:
            return None
        from profilers.runtimes.tensorrt.cuda import Cuda

        gpu = Cuda.load().gpu()
        return None if gpu.is_integrated else gpu.name

    def version(self) -> str:
        return str(_import().__version__)

    def load(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        seed: int = 0,
        flush_denormals: bool = False,
    ) -> OnnxRuntimeSession:
        self.check_available()
        ort = _import()
        check_model_file(Path(path))
        try:
            session = ort.InferenceSession(str(path), _options(ort, threads, flush_denormals), providers=self._providers)
        except Exception as error:  # its exceptions have no common base
            raise _load_error(Path(path), error) from error
        if self._on_gpu and _CUDA not in session.get_providers():  # it falls back to the CPU in silence
            raise RuntimeFailedError(
                f"runtime {self.name!r} must run on the GPU, but {_CUDA} could not start here and the CPU would have been timed; "
                "install the CUDA and cuDNN libraries that this ONNX Runtime asks for, and check the driver with nvidia-smi."
            )
        inputs = {item.name: _spec(item, Path(path).name, batch_size) for item in session.get_inputs()}
        return OnnxRuntimeSession(session, Path(path).name, inputs, seed=seed)


class OnnxRuntimeSession(CheckedSession):
    """One ONNX Runtime session; outputs belong to the caller."""

    def __init__(self, session: Any, name: str, inputs: Mapping[str, TensorSpec], *, seed: int) -> None:
        super().__init__(name, inputs, seed=seed)
        self._session = session
        self._output_names = [output.name for output in session.get_outputs()]

    def _infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(self._output_names, self._call(dict(inputs))))

    def _run(self) -> object:
        return self._call(self._made_inputs)

    def _call(self, inputs: dict[str, Array]) -> list[Array]:
        try:
            outputs: list[Array] = self._session.run(self._output_names, inputs)
        except Exception as error:
            raise RuntimeFailedError(f"onnxruntime must run {self.name!r}, but it stopped: {one_line(error)}") from error
        return outputs

    def _close(self) -> None:
        super()._close()
        self._session = None


def _import() -> Any:
    try:
        # By name, since this file is called like the package.
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise RuntimeNotInstalledError(
            "runtime 'onnxruntime' needs the Python package 'onnxruntime', which cannot be imported here "
            f"({one_line(error)}); install it with 'pip install onnxruntime'."
        ) from error


def _options(ort: Any, threads: int, flush_denormals: bool) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads  # 0 would let the runtime choose, and pin, by itself
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors come as exceptions; warnings would flood the event stream
    # Spinning workers answer faster, but a single thread has none to wait for.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    if flush_denormals:
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options


def _spec(item: Any, model: str, batch_size: int) -> TensorSpec:
    if item.type not in _DTYPES:
        raise ModelFileError(
            f"input {item.name!r} of {model!r} must be one of {', '.join(_DTYPES)}, but it is {item.type}; "
            "export it with another type."
        )
    dims = tuple(dim if isinstance(dim, int) and dim >= 0 else None for dim in item.shape or ())
    return TensorSpec(fill_shape(item.name, model, dims, batch_size), _DTYPES[item.type])


def _load_error(path: Path, error: Exception) -> Exception:
    kind = type(error).__name__
    if kind in ("InvalidProtobuf", "InvalidGraph", "NoModel", "NoSuchFile", "InvalidArgument"):
        return ModelFileError(f"a model must be a valid ONNX file, but onnxruntime refuses {str(path)!r}: {one_line(error)}")
    return RuntimeFailedError(f"onnxruntime must load {str(path)!r}, but it failed: {kind}: {one_line(error)}")
