"""A graph in half precision: every weight and every step is typed float16, as runtimes want it that take types at their word
(TensorRT from 10 on). Input and output stay float32, so that whoever feeds the graph need not know."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nat_deploy.errors import FileFormatError

_LARGEST = float(np.finfo(np.float16).max)


def to_fp16(
    nodes: Sequence[onnx.NodeProto], initializers: Sequence[onnx.TensorProto], *, entry: str
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes and weights of the float16 graph that does the same; the last node casts back to float32.

    Raises:
        FileFormatError: A weight is too large for float16.
    """
    halved = f"{entry}.fp16"
    first = helper.make_node("Cast", [entry], [halved], name=halved, to=TensorProto.FLOAT16)
    output = nodes[-1].output[0]
    last = helper.make_node("Cast", [output], [f"{output}.fp32"], name=f"{output}.fp32", to=TensorProto.FLOAT)
    for node in nodes:
        node.input[:] = [halved if name == entry else name for name in node.input]
    return [first, *nodes, last], [_halved(tensor) for tensor in initializers]


def _halved(tensor: onnx.TensorProto) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0))
    if not largest <= _LARGEST:
        raise FileFormatError(
            f"weights of a graph in fp16 must lie within ±{_LARGEST:.0f}, but {tensor.name} reaches {largest:.3g}; choose fp32"
        )
    return numpy_helper.from_array(values.astype(np.float16), tensor.name)
