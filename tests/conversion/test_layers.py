"""What nodes become which layers, and what is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nat_deploy.conversion import read_layers
from nat_deploy.conversion.layers import Convolution, Function, Linear, Mean
from nat_deploy.errors import InputError
from nat_deploy.onnx_graphs import build_graph
from nat_deploy.spaces import Block, make_space

X = ["n", 2, 8, 8]
WEIGHTS = {
    "w": np.ones((2, 2, 3, 3), np.float32),
    "depthwise": np.ones((2, 1, 3, 3), np.float32),
    "b": np.ones(2, np.float32),
    "square": np.ones((2, 2), np.float32),
    "ints": np.ones((2, 2, 3, 3), np.int32),
    "0": np.float32(0),
    "6": np.float32(6),
}


def model(nodes: Sequence[onnx.NodeProto], *, shape: Sequence[int | str | None] = X, output: str = "y") -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in WEIGHTS.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def node(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], name=output, **attributes)


def conv(inputs: Sequence[str], output: str, **changes: Any) -> onnx.NodeProto:
    return node("Conv", inputs, output, **{"strides": [2, 2], "pads": [1] * 4, **changes})


def gate(x: str, output: str) -> onnx.NodeProto:
    return node("HardSigmoid", [x], output, alpha=1 / 6, beta=0.5)


def test_an_activation_joins_the_convolution_before_it():
    graph = read_layers(model([conv(["x", "w", "b"], "c"), node("Clip", ["c", "0", "6"], "y")]))
    (layer,) = graph.layers
    assert isinstance(layer, Convolution)
    assert (layer.inputs, layer.output, layer.shape, layer.bound) == (("x",), "y", (1, 2, 4, 4), "relu6")
    assert (layer.in_size, layer.stride, layer.padding, layer.is_depthwise) == (8, 2, 1, False)
    assert graph.has_free_batch
    assert graph.output_shape == (1, 2, 4, 4)


def test_a_missing_bias_is_zero_and_a_fixed_batch_stays():
    graph = read_layers(model([conv(["x", "depthwise"], "y", group=2)], shape=[3, 2, 8, 8]))
    (layer,) = graph.layers
    assert isinstance(layer, Convolution)
    assert layer.is_depthwise
    np.testing.assert_array_equal(layer.bias, [0, 0])
    assert (graph.input_shape, layer.shape, graph.has_free_batch) == ((3, 2, 8, 8), (3, 2, 4, 4), False)


@pytest.mark.parametrize("factors", [["c", "g"], ["g", "c"]])
def test_a_value_times_its_gate_is_h_swish(factors: list[str]):
    layers = read_layers(model([conv(["x", "w"], "c"), gate("c", "g"), node("Mul", factors, "y")])).layers
    assert [type(layer) for layer in layers] == [Convolution, Function]
    assert isinstance(layers[1], Function)
    assert (layers[1].kind, layers[1].inputs, layers[1].output) == ("hswish", ("c",), "y")


def test_a_gate_of_something_else_stays_a_gate():
    layers = read_layers(
        model([conv(["x", "w"], "c"), conv(["x", "w"], "d"), gate("d", "g"), node("Mul", ["c", "g"], "y")])
    ).layers
    assert [layer.kind for layer in layers if isinstance(layer, Function)] == ["hsigmoid", "multiply"]


@pytest.mark.parametrize("output", ["y", "c"], ids=["read twice", "an output too"])
def test_what_others_read_is_not_joined(output: str):
    nodes = [conv(["x", "w"], "c"), node("Relu", ["c"], "r")]
    if output == "y":
        nodes.append(node("Add", ["c", "r"], "y"))
    layers = read_layers(model(nodes, output=output)).layers
    assert isinstance(layers[0], Convolution)
    assert layers[0].bound == "none"
    assert isinstance(layers[1], Function)
    assert (layers[1].kind, layers[1].bound) == ("copy", "relu")


def test_a_second_activation_is_a_layer_of_its_own():
    nodes = [conv(["x", "w"], "c"), node("Clip", ["c", "0", "6"], "r"), node("Relu", ["r"], "y")]
    assert [layer.bound for layer in read_layers(model(nodes)).layers] == ["relu6", "relu"]


def test_a_pooled_map_is_flattened():
    nodes = [node("GlobalAveragePool", ["x"], "p"), node("Flatten", ["p"], "f"), node("Gemm", ["f", "square", "b"], "y")]
    mean, linear = read_layers(model(nodes)).layers
    assert isinstance(mean, Mean)
    assert isinstance(linear, Linear)
    assert (mean.shape, mean.keeps_axes, mean.output) == ((1, 2), False, "f")
    assert linear.shape == (1, 2)


def test_every_block_of_a_space_is_read():
    space = make_space("ofa-mbv3-w0.5", resolutions=(64,), num_classes=5)
    rng = np.random.default_rng(0)
    blocks = space.blocks(space.largest())
    read_layers(build_graph(blocks, rng=rng))
    for block in set(blocks):
        read_layers(build_graph([block], rng=rng, batch_size=None))
    read_layers(build_graph([Block(kind="linear", in_channels=2, out_channels=2, in_size=1)], rng=rng))


@pytest.mark.parametrize(
    "nodes",
    [
        [node("MaxPool", ["x"], "y", kernel_shape=[2, 2])],
        [node("Flatten", ["x"], "y")],
        [conv(["x", "w"], "y", dilations=[2, 2])],
        [conv(["x", "w"], "y", pads=[0, 0, 1, 1])],
        [conv(["x", "w"], "y", strides=[1, 2])],
        [conv(["x", "ints"], "y")],
        [conv(["x", "x"], "y")],
        [node("Clip", ["x", "0"], "y")],
        [node("HardSigmoid", ["x"], "y", alpha=0.2, beta=0.5)],
        [node("Add", ["x", "b"], "y")],
        [node("Gemm", ["x", "square"], "y", alpha=2.0)],
    ],
    ids=lambda nodes: nodes[0].op_type,
)
def test_other_operations_are_refused_by_name(nodes: list[onnx.NodeProto]):
    with pytest.raises(InputError, match=rf"'y' is another {nodes[0].op_type}; keep this model as ONNX"):
        read_layers(model(nodes))


def test_open_sizes_and_several_inputs_are_refused():
    with pytest.raises(InputError, match="all dimensions but the first fixed"):
        read_layers(model([node("Relu", ["x"], "y")], shape=["n", 2, "h", "w"]))
    two = model([node("Relu", ["x"], "y")])
    two.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    with pytest.raises(InputError, match="has 2 and 1"):
        read_layers(two)
