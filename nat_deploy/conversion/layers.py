"""An ONNX graph as the layers that mobile runtimes have: convolutions with their activation, h-swish as one operation.

What a runtime's own converter would find out again is found once here: which activation follows which convolution alone, that
`x * HardSigmoid(x)` is h-swish, that a pooled map is flattened. Shapes are (N, C, H, W) or (N, C), as in ONNX; writers turn them to
the layout of their runtime.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from nat_deploy.errors import InputError

Array = NDArray[np.float32]
Shape = tuple[int, ...]
Bound = Literal["none", "relu", "relu6"]  # what a layer does to its output before it is stored


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One operation: reads tensors by name and writes one of shape `shape`."""

    inputs: tuple[str, ...]
    output: str
    shape: Shape
    bound: Bound = "none"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Convolution(Layer):
    """`weight` is (out, in, k, k), or (out, 1, k, k) of a depthwise one; `bias` (out,); `padding` zeros stand on every side."""

    weight: Array
    bias: Array
    in_size: int
    stride: int
    padding: int
    is_depthwise: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear(Layer):
    """`weight` is (out, in)."""

    weight: Array
    bias: Array | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mean(Layer):
    """Mean over height and width; (N, C, 1, 1) where `keeps_axes`, else (N, C)."""

    keeps_axes: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Function(Layer):
    """An operation without weights; "add" and "multiply" read two tensors, the others one. "copy" with a bound is an activation."""

    kind: Literal["add", "multiply", "hswish", "hsigmoid", "copy"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerGraph:
    """Layers in order of execution, with the one input and the one output; every shape begins with the batch."""

    input: str
    input_shape: Shape
    output: str
    layers: tuple[Layer, ...]
    has_free_batch: bool  # the ONNX file leaves the batch open; shapes then say 1

    @property
    def output_shape(self) -> Shape:
        return next(layer.shape for layer in self.layers if layer.output == self.output)


def read_layers(model: onnx.ModelProto) -> LayerGraph:
    """The layers of an ONNX model of float32 with one input and one output.

    Raises:
        InputError: The model holds something that the layers above cannot say; the sentence names it.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise InputError(
            f"a model to convert must have one input and one output, but has {len(inputs)} and {len(graph.output)}; "
            "export it with one of each"
        )
    shape, has_free_batch = _input_shape(inputs[0])
    reader = _Reader({name: numpy_helper.to_array(tensor) for name, tensor in constants.items()}, {inputs[0].name: shape})
    for node in graph.node:
        reader.read(node)
    output = graph.output[0].name
    return LayerGraph(
        input=inputs[0].name,
        input_shape=shape,
        output=output,
        layers=tuple(_fused(reader.layers, output)),
        has_free_batch=has_free_batch,
    )


class _Reader:
    """One layer for each node, shapes inferred on the way."""

    def __init__(self, constants: Mapping[str, NDArray[Any]], shapes: dict[str, Shape]) -> None:
        self.layers: list[Layer] = []
        self._constants = constants
        self._shapes = shapes

    def read(self, node: onnx.NodeProto) -> None:
        try:
            layer = self._layer(node)
        except (KeyError, IndexError, ValueError) as error:
            raise _refusal(node) from error
        self.layers.append(layer)
        self._shapes[layer.output] = layer.shape

    def _layer(self, node: onnx.NodeProto) -> Layer:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        source, output = (node.input[0],), node.output[0]
        shape = self._shapes[node.input[0]]
        match node.op_type:
            case "Conv":
                return self._convolution(node, attributes, shape)
            case "Gemm":
                return self._linear(node, attributes, shape)
            case "GlobalAveragePool":
                return Mean(inputs=source, output=output, shape=(*shape[:2], 1, 1), keeps_axes=True)
            case "Flatten" if attributes.get("axis", 1) == 1 and isinstance(self.layers[-1], Mean):
                return Function(inputs=source, output=output, shape=shape[:2], kind="copy")
            case "Identity":
                return Function(inputs=source, output=output, shape=shape, kind="copy")
            case "Relu":
                return Function(inputs=source, output=output, shape=shape, kind="copy", bound="relu")
            case "Clip" if [self._constants[name].item() for name in node.input[1:]] == [0, 6]:
                return Function(inputs=source, output=output, shape=shape, kind="copy", bound="relu6")
            case "HardSigmoid" if np.allclose((attributes["alpha"], attributes["beta"]), (1 / 6, 0.5)):
                return Function(inputs=source, output=output, shape=shape, kind="hsigmoid")
            case "HardSwish":
                return Function(inputs=source, output=output, shape=shape, kind="hswish")
            case "Add" | "Mul":
                names: tuple[str, str] = (node.input[0], node.input[1])
                result = np.broadcast_shapes(*(self._shapes[name] for name in names))
                return Function(inputs=names, output=output, shape=result, kind="add" if node.op_type == "Add" else "multiply")
        raise _refusal(node)

    def _convolution(self, node: onnx.NodeProto, attributes: Mapping[str, Any], shape: Shape) -> Convolution:
        weight = self._floats(node.input[1])
        out, in_each_group, kernel, width = weight.shape
        groups: int = attributes.get("group", 1)
        (stride,) = set(attributes["strides"])
        (padding,) = set(attributes["pads"])
        if set(attributes.get("dilations", [1])) != {1} or width != kernel or shape[2] != shape[3]:
            raise ValueError("only squares are convolved")
        if groups > 1 and (in_each_group, groups) != (1, out):
            raise ValueError("groups are all channels or one")
        size = (shape[2] + 2 * padding - kernel) // stride + 1
        return Convolution(
            inputs=(node.input[0],),
            output=node.output[0],
            shape=(shape[0], out, size, size),
            weight=weight,
            bias=self._floats(node.input[2]) if len(node.input) > 2 else np.zeros(out, np.float32),
            in_size=shape[2],
            stride=stride,
            padding=padding,
            is_depthwise=groups > 1,
        )

    def _linear(self, node: onnx.NodeProto, attributes: Mapping[str, Any], shape: Shape) -> Linear:
        if (attributes.get("alpha", 1.0), attributes.get("beta", 1.0), attributes.get("transA", 0)) != (1, 1, 0):
            raise ValueError("a plain product")
        weight = self._floats(node.input[1])
        weight = weight if attributes.get("transB", 0) else np.ascontiguousarray(weight.T)
        bias = self._floats(node.input[2]) if len(node.input) > 2 else None
        return Linear(inputs=(node.input[0],), output=node.output[0], shape=(shape[0], len(weight)), weight=weight, bias=bias)

    def _floats(self, name: str) -> Array:
        values = self._constants[name]
        if values.dtype != np.float32:
            raise ValueError("weights are float32")
        return values


def _fused(layers: Sequence[Layer], output: str) -> list[Layer]:
    """Layers that several nodes spell out become one, where nothing else reads what lies between."""
    num_readers = Counter(name for layer in layers for name in layer.inputs) + Counter([output])
    fused: dict[str, Layer] = {}  # by output, in order
    for layer in layers:
        for name in layer.inputs:
            before = fused.get(name)
            merged = _merged(before, layer) if before is not None and num_readers[name] == 1 else None
            if merged is not None:
                del fused[name]
                layer = merged
                break
        fused[layer.output] = layer
    return list(fused.values())


def _merged(before: Layer, layer: Layer) -> Layer | None:
    """The one layer that does what both do, if there is one."""
    match before, layer:
        case Convolution() | Linear() | Function(kind="add" | "multiply"), Function(kind="copy", bound="relu" | "relu6"):
            return replace(before, output=layer.output, bound=layer.bound) if before.bound == "none" else None
        case Mean(), Function(kind="copy", bound="none"):
            return replace(before, output=layer.output, shape=layer.shape, keeps_axes=len(layer.shape) == 4)
        case Function(kind="hsigmoid"), Function(kind="multiply") if before.inputs[0] in layer.inputs:
            return Function(inputs=before.inputs, output=layer.output, shape=layer.shape, kind="hswish")
    return None


def _input_shape(value: onnx.ValueInfoProto) -> tuple[Shape, bool]:
    tensor = value.type.tensor_type
    dims = [dim.dim_value for dim in tensor.shape.dim]  # 0 where it is open
    if tensor.elem_type != onnx.TensorProto.FLOAT or not dims or 0 in dims[1:]:
        raise InputError(
            f"the input of a model to convert must be float32 with all dimensions but the first fixed, but '{value.name}' is not; "
            "export it so"
        )
    return (dims[0] or 1, *dims[1:]), not dims[0]


def _refusal(node: onnx.NodeProto) -> InputError:
    return InputError(
        f"a model to convert must consist of float32 convolutions, linear layers, their activations, global pooling, sums and "
        f"products, but '{node.name[:80]}' is another {node.op_type}; keep this model as ONNX"
    )
