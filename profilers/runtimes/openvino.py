"""OpenVINO on the CPU."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilers.errors import ModelFileError, RuntimeFailedError, RuntimeNotInstalledError
from profilers.runtimes.base import CheckedSession, TensorSpec, check_model_file, fill_shape, one_line

if TYPE_CHECKING:
    from profilers.runtimes.base import Array

_TELEMETRY = "openvino_telemetry"
_PRECISIONS = {"fp32": "f32", "fp16": "f16", "int8": "f32"}  # what lies between the integer operations is float


class OpenVinoRuntime:
    """Reads ONNX files, and OpenVINO's own `.xml` with the `.bin` beside it.

    OpenVINO computes float32 graphs in bfloat16 where the CPU can; here it never does, or its times would be those of another
    precision.
    """

    name = "openvino"
    clock = staticmethod(time.perf_counter_ns)
    loads_into_this_process = True

    def check_available(self) -> None:
        import_openvino()

    def version(self) -> str:
        return str(import_openvino().__version__).partition("-")[0]  # what follows names the build

    def load(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        seed: int = 0,
        flush_denormals: bool = False,
    ) -> OpenVinoSession:
        ov = import_openvino()
        path = Path(path)
        check_model_file(path)
        core = ov.Core()
        try:
            model = core.read_model(str(path))
        except Exception as error:  # its exceptions have no common base
            raise ModelFileError(
                f"a model must be a valid ONNX or OpenVINO file, but openvino refuses {str(path)!r}: {one_line(error)}"
            ) from error
        shapes = {item.get_any_name(): _shape(item, path.name, batch_size) for item in model.inputs}
        try:
            model.reshape({name: list(shape) for name, shape in shapes.items()})
            compiled = core.compile_model(model, "CPU", _options(threads, precision, flush_denormals))
        except Exception as error:
            raise RuntimeFailedError(f"openvino must load {str(path)!r}, but it failed: {one_line(error)}") from error
        _check_precision(compiled, precision)
        inputs = {item.get_any_name(): TensorSpec(shapes[item.get_any_name()], _dtype(item)) for item in compiled.inputs}
        return OpenVinoSession(compiled, path.name, inputs, seed=seed)


class OpenVinoSession(CheckedSession):
    """One inference request of a compiled model."""

    def __init__(self, compiled: Any, name: str, inputs: Mapping[str, TensorSpec], *, seed: int) -> None:
        super().__init__(name, inputs, seed=seed)
        self._outputs = [(output.get_any_name(), output) for output in compiled.outputs]
        self._request = compiled.create_infer_request()

    def _infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        results = self._call(inputs)
        return {name: results[output].copy() for name, output in self._outputs}

    def _run(self) -> object:
        return self._call(self._made_inputs)

    def _call(self, inputs: Mapping[str, Array]) -> Any:
        try:
            # Both flags save a copy; an application would set them too.
            return self._request.infer(dict(inputs), share_inputs=True, share_outputs=True)
        except Exception as error:
            raise RuntimeFailedError(f"openvino must run {self.name!r}, but it stopped: {one_line(error)}") from error

    def _close(self) -> None:
        super()._close()
        self._request = None
        self._outputs = []


def import_openvino() -> Any:
    """Import the package without its telemetry.

    On import it reports to its maker from a forked process, which can hang and then keeps the pipes of this process open.

    Raises:
        RuntimeNotInstalledError: It cannot be imported.
    """
    is_blocked = _TELEMETRY not in sys.modules
    if is_blocked:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        # By name, since this file is called like the package.
        return importlib.import_module("openvino")
    except ImportError as error:
        raise RuntimeNotInstalledError(
            "runtime 'openvino' needs the Python package 'openvino', which cannot be imported here "
            f"({one_line(error)}); install it with 'pip install openvino'."
        ) from error
    finally:
        if is_blocked:
            del sys.modules[_TELEMETRY]


def _options(threads: int, precision: str, flush_denormals: bool) -> dict[str, Any]:
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,  # one request at a time, as a single caller has it
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "ENABLE_CPU_PINNING": False,  # the job says which cores
        "CPU_DENORMALS_OPTIMIZATION": flush_denormals,
    }


def _check_precision(compiled: Any, precision: str) -> None:
    computes_in = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if computes_in != _PRECISIONS[precision]:
        raise RuntimeFailedError(
            f"openvino must compute in {_PRECISIONS[precision]} for precision {precision!r}, but on this CPU it takes "
            f"{computes_in}; ask for another precision."
        )


def _shape(item: Any, model: str, batch_size: int) -> tuple[int, ...]:
    dims = tuple(dim.get_length() if dim.is_static else None for dim in item.get_partial_shape())
    return fill_shape(item.get_any_name(), model, dims, batch_size)


def _dtype(item: Any) -> str:
    return str(item.get_element_type().to_dtype().name)
