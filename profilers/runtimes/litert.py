"""LiteRT (formerly TensorFlow Lite) on the CPU, with its XNNPACK delegate."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from profilers.errors import ModelFileError, RuntimeFailedError, RuntimeNotInstalledError
from profilers.runtimes.base import CheckedSession, TensorSpec, check_model_file, fill_shape, one_line

if TYPE_CHECKING:
    from profilers.runtimes.base import Array

_IDENTIFIER = b"TFL3"  # bytes 4 to 8 of the file


class LiteRtRuntime:
    """Runs `.tflite` files as they are: precision lives in the file.

    It has no switch for denormal numbers; `flush_denormals` changes nothing.
    """

    name = "litert"
    clock = staticmethod(time.perf_counter_ns)
    loads_into_this_process = True

    def check_available(self) -> None:
        _import()

    def version(self) -> str:
        return str(_import("ai_edge_litert").__version__)

    def load(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        seed: int = 0,
        flush_denormals: bool = False,
    ) -> LiteRtSession:
        module = _import()
        path = Path(path)
        _check_identifier(path)
        try:
            interpreter = module.Interpreter(model_path=str(path), num_threads=threads)
        except Exception as error:  # its exceptions have no common base
            raise ModelFileError(
                f"a model must be a valid LiteRT file, but litert refuses {str(path)!r}: {one_line(error)}"
            ) from error
        details = interpreter.get_input_details()
        inputs = {item["name"]: _spec(item, path.name, batch_size) for item in details}
        try:
            for item in details:
                interpreter.resize_tensor_input(item["index"], inputs[item["name"]].shape)
            interpreter.allocate_tensors()
        except Exception as error:
            raise RuntimeFailedError(f"litert must load {str(path)!r}, but it failed: {one_line(error)}") from error
        return LiteRtSession(interpreter, path.name, inputs, seed=seed)


class LiteRtSession(CheckedSession):
    """One interpreter. A run copies the input in and the output out, as an application does: the interpreter reuses their memory."""

    def __init__(self, interpreter: Any, name: str, inputs: Mapping[str, TensorSpec], *, seed: int) -> None:
        super().__init__(name, inputs, seed=seed)
        self._interpreter = interpreter
        self._inputs = [(item["name"], item["index"]) for item in interpreter.get_input_details()]
        self._outputs = [(item["name"], item["index"]) for item in interpreter.get_output_details()]

    def _infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._call(inputs)

    def _run(self) -> object:
        return self._call(self._made_inputs)

    def _call(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        interpreter = self._interpreter
        try:
            for name, index in self._inputs:
                interpreter.set_tensor(index, inputs[name])
            interpreter.invoke()
            return {name: interpreter.get_tensor(index) for name, index in self._outputs}
        except Exception as error:
            raise RuntimeFailedError(f"litert must run {self.name!r}, but it stopped: {one_line(error)}") from error

    def _close(self) -> None:
        super()._close()
        self._interpreter = None


def _import(name: str = "ai_edge_litert.interpreter") -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeNotInstalledError(
            "runtime 'litert' needs the Python package 'ai-edge-litert', which cannot be imported here "
            f"({one_line(error)}); install it with 'pip install ai-edge-litert'."
        ) from error


def _check_identifier(path: Path) -> None:
    """The library would end the process on some files that are no models."""
    check_model_file(path)
    with path.open("rb") as file:
        if file.read(8)[4:] != _IDENTIFIER:
            raise ModelFileError(f"a model for litert must be a .tflite file, but {str(path)!r} is not; convert it first.")


def _spec(item: Mapping[str, Any], model: str, batch_size: int) -> TensorSpec:
    # A dimension that is open is -1 in the signature; files without a signature have none.
    signature = item["shape_signature"] if len(item["shape_signature"]) else item["shape"]
    dims = tuple(int(dim) if dim >= 0 else None for dim in signature)
    return TensorSpec(fill_shape(item["name"], model, dims, batch_size), np.dtype(item["dtype"]).name)
