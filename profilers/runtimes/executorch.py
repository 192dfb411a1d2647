"""ExecuTorch on the CPU, as its Python package runs `.pte` files; models for XNNPACK are what it is quick at."""

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

_METHOD = "forward"
_IDENTIFIER = b"ET"  # bytes 4 and 5 of the file; a version follows
# Numbers of PyTorch's scalar types, which are part of the file format.
_DTYPES = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 11: "bool"}


class ExecuTorchRuntime:
    """Runs the method "forward"; its inputs have no names in the file and are called input0, input1, … here.

    The threads belong to the process, not to a session: all sessions that are open at a time must ask for the same number.
    """

    name = "executorch"
    clock = staticmethod(time.perf_counter_ns)
    loads_into_this_process = True

    def check_available(self) -> None:
        _import_library()

    def version(self) -> str:
        return str(_import("executorch.version").__version__).partition("+")[0]

    def load(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        seed: int = 0,
        flush_denormals: bool = False,
    ) -> ExecuTorchSession:
        torch, library = _import_library()
        path = Path(path)
        _check_identifier(path)
        if flush_denormals:
            torch.set_flush_denormal(True)
        if library._threadpool_get_thread_count() != threads:
            library._unsafe_reset_threadpool(threads)
        try:
            program = library._load_program(str(path), program_verification=library.Verification.InternalConsistency)
        except Exception as error:  # its exceptions have no common base
            raise ModelFileError(
                f"a model must be a valid ExecuTorch file, but executorch refuses {str(path)!r}: {one_line(error)}"
            ) from error
        try:
            method = program.load_method(_METHOD)
        except Exception as error:
            raise RuntimeFailedError(f"executorch must load {str(path)!r}, but it failed: {one_line(error)}") from error
        metadata = method.method_meta()
        infos = [metadata.input_tensor_meta(index) for index in range(metadata.num_inputs())]
        inputs = {f"input{index}": _spec(f"input{index}", info, path.name, batch_size) for index, info in enumerate(infos)}
        return ExecuTorchSession(program, method, torch, path.name, inputs, seed=seed)


class ExecuTorchSession(CheckedSession):
    """One loaded method."""

    def __init__(self, program: Any, method: Any, torch: Any, name: str, inputs: Mapping[str, TensorSpec], *, seed: int) -> None:
        super().__init__(name, inputs, seed=seed)
        self._program = program  # its memory is what the method works in
        self._method = method
        self._torch = torch
        self._made_tensors = self._tensors(self._made_inputs)

    def _infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {f"output{index}": output.numpy() for index, output in enumerate(self._call(self._tensors(inputs)))}

    def _run(self) -> object:
        return self._call(self._made_tensors)

    def _tensors(self, inputs: Mapping[str, Array]) -> list[Any]:
        return [self._torch.from_numpy(inputs[name]) for name in self.inputs]

    def _call(self, tensors: list[Any]) -> Any:
        try:
            return self._method(tensors)
        except Exception as error:
            raise RuntimeFailedError(f"executorch must run {self.name!r}, but it stopped: {one_line(error)}") from error

    def _close(self) -> None:
        super()._close()
        self._made_tensors = []
        self._method = None
        self._program = None


def _import_library() -> tuple[Any, Any]:
    """PyTorch, whose tensors the library takes and whose own library it needs, and the library itself.

    The public `executorch.runtime` hands these same calls on, but imports the whole exporter: 5 seconds instead of 1.5.
    """
    return _import("torch"), _import("executorch.extension.pybindings._C")


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeNotInstalledError(
            "runtime 'executorch' needs the Python package 'executorch', which cannot be imported here "
            f"({one_line(error)}); install it with 'pip install executorch'."
        ) from error


def _check_identifier(path: Path) -> None:
    """The library may end the process on a file that is no program."""
    check_model_file(path)
    with path.open("rb") as file:
        if file.read(6)[4:] != _IDENTIFIER:
            raise ModelFileError(f"a model for executorch must be a .pte file, but {str(path)!r} is not; convert it first.")


def _spec(name: str, info: Any, model: str, batch_size: int) -> TensorSpec:
    if info.dtype() not in _DTYPES:
        raise ModelFileError(
            f"input {name!r} of {model!r} must be one of {', '.join(_DTYPES.values())}, but it is {info!r}; "
            "export it with another type."
        )
    return TensorSpec(fill_shape(name, model, tuple(info.sizes()), batch_size), _DTYPES[info.dtype()])
