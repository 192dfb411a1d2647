"""The inputs of an ONNX file, read without any package: boards that only have trtexec have no `onnx`.

Only the few fields on the way there are followed: model 7 (graph), graph 5 (initializers), graph 11 (inputs).

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto and the encoding of protocol buffers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from profilers.errors import ModelFileError
from profilers.runtimes.base import TensorSpec, check_model_file, fill_shape

_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}


@dataclass(frozen=True)
class OnnxInput:
    """One input of a model."""

    spec: TensorSpec  # with the batch filled in
    is_open: bool  # the file leaves the batch open
    batch_name: str = ""  # of an open batch, where the file gives it one


def read_inputs(path: Path, batch_size: int) -> dict[str, OnnxInput]:
    """Return name -> input, with an open batch filled in.

    Raises:
        ModelFileError: The file is missing, is not an ONNX model, or does not take this batch.
    """
    check_model_file(path)
    try:
        (graph,) = (value for number, value in _fields(path.read_bytes()) if number == 7)
        initializers = {_text(tensor, 8) for tensor in _messages(graph, 5)}
        found = {_text(item, 1): _shape(item) for item in _messages(graph, 11)}
        inputs = {name: shape for name, shape in found.items() if name not in initializers}
        if not inputs:
            raise ValueError("no input")
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise ModelFileError(
            f"a model must be a valid ONNX file, but {str(path)!r} cannot be read ({error}); export it again."
        ) from error
    return {
        name: OnnxInput(TensorSpec(fill_shape(name, path.name, dims, batch_size), dtype), None in dims, batch_name)
        for name, (dims, dtype, batch_name) in inputs.items()
    }


def _shape(item: bytes) -> tuple[tuple[int | None, ...], str, str]:
    """Dimensions (None: open), type, and name of the first dimension of a ValueInfoProto."""
    (kind,) = _messages(item, 2)
    (tensor,) = _messages(kind, 1)
    (element,) = (value for number, value in _fields(tensor) if number == 1)
    dims: list[int | None] = []
    names: list[str] = []
    for shape in _messages(tensor, 2):
        for dim in _messages(shape, 1):
            known = [value for number, value in _fields(dim) if number == 1]
            dims.append(int(known[0]) if known and isinstance(known[0], int) and known[0] > 0 else None)
            names.append(_text(dim, 2))
    return tuple(dims), _TYPES[int(element)], names[0] if names else ""


def _text(message: bytes, field: int) -> str:
    return next((value for value in _messages(message, field)), b"").decode("utf-8")


def _messages(message: object, field: int) -> list[bytes]:
    return [value for number, value in _fields(message) if number == field and isinstance(value, bytes)]


def _fields(message: object) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and value of each field; fixed-size numbers are passed over."""
    if not isinstance(message, bytes):
        raise ValueError("a message is not where it should be")
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield key >> 3, value
        elif kind == 2:
            size, place = _varint(message, place)
            if place + size > len(message):
                raise ValueError("it is cut off")
            yield key >> 3, message[place : place + size]
            place += size
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise ValueError("it is not a protocol buffer")


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("a number is too long")
