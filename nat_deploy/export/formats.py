"""What a subnet can be exported to, and what is missing where it cannot."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import onnx

from nat_deploy.conversion import convert, write_openvino
from nat_deploy.errors import InputError, MissingError

Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFormat:
    """How a model is written, and what runs it to compare its outputs.

    suffixes     of the file, and of those that belong beside it
    write        from ONNX to the bytes of each of these files
    runtime      as `profilers` calls it
    package      Python package that writes and runs the files
    layout       order in which the file takes images
    batch_size   of one run; None where it is open
    is_plain     whether it holds nothing but float32 networks with folded batch norms
    """

    suffixes: tuple[str, ...]
    write: Callable[[onnx.ModelProto], tuple[bytes, ...]]
    runtime: str
    package: str
    layout: Layout = "NCHW"
    batch_size: int | None = None
    is_plain: bool = False


_KNOWN: Mapping[str, ModelFormat] = {
    "onnx": ModelFormat(
        suffixes=(".onnx",), write=lambda model: (convert(model, ".onnx"),), runtime="onnxruntime", package="onnxruntime"
    ),
    "openvino": ModelFormat(suffixes=(".xml", ".bin"), write=write_openvino, runtime="openvino", package="openvino"),
    "executorch": ModelFormat(
        suffixes=(".pte",),
        write=lambda model: (convert(model, ".pte"),),
        runtime="executorch",
        package="executorch",
        batch_size=1,
        is_plain=True,
    ),
    "litert": ModelFormat(
        suffixes=(".tflite",),
        write=lambda model: (convert(model, ".tflite"),),
        runtime="litert",
        package="ai_edge_litert",
        layout="NHWC",
        is_plain=True,
    ),
}
ENGINE_FORMATS = ("trt", "trt-rtx")  # built by the device's own TensorRT, or by TensorRT-RTX

FORMATS = (*_KNOWN, *ENGINE_FORMATS)


def check_format(name: str) -> None:
    """Raise unless the format `name` can be written here; what an engine needs is for its device to say.

    Raises:
        InputError: There is no such format.
        MissingError: It needs a package that is not installed; the sentence says which.
    """
    if name not in ENGINE_FORMATS:
        find_format(name)


def find_format(name: str) -> ModelFormat:
    """The format of that name, which is not that of an engine.

    Raises:
        InputError: There is no such format.
        MissingError: It needs a package that is not installed; the sentence says which.
    """
    if name not in _KNOWN:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, but it is '{name}'; choose one of these")
    found = _KNOWN[name]
    if find_spec(found.package) is None:  # the extra that brings a package bears the name of the format
        raise MissingError(
            f"format '{name}' needs the Python package '{found.package}', which is not installed here; "
            f"install it with: pip install 'natdeploy[{name}]'"
        )
    return found
