"""Graphs in fp16 and int8: what they compute, which numbers they are made of, and which kernels they become."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from nat_deploy.errors import FileFormatError
from nat_deploy.onnx_graphs import Quantisation, Range, build_graph, draw_weights
from nat_deploy.onnx_graphs.int8 import quantise_weight
from nat_deploy.spaces import SPACE_NAMES, Block, make_space
from tests.onnx_graphs.test_build_graph import SHORTCUT, any_block, draw_calibrated, features_of, relative_error, run

POINTWISE = Block(kind="mbconv", in_channels=2, mid_channels=2, out_channels=2, in_size=1, kernel_size=1)
FORMS = ("onnxruntime", "tensorrt")


def ranges_of(model: onnx.ModelProto, features: np.ndarray) -> dict[str, Range]:
    """Lowest and highest value of every tensor, which a session gives as further outputs."""
    spied = onnx.ModelProto.FromString(model.SerializeToString())
    names = [node.output[0] for node in model.graph.node]
    del spied.graph.output[:]
    spied.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(spied.SerializeToString(), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    values = dict(zip(names, session.run(None, {entry: features}), strict=True)) | {entry: features}
    return {name: Range(low=min(0.0, float(seen.min())), high=max(0.0, float(seen.max()))) for name, seen in values.items()}


def optimised(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    """How often each operator is executed by ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def test_weights_are_scaled_by_channel_placed_by_hand():
    weight = np.array([[1.27, -0.5], [-0.0127, 0.01], [0, 0]], np.float32)[:, :, None, None]
    integers, scales = quantise_weight(weight)
    assert integers[:, :, 0, 0].tolist() == [[127, -50], [-127, 100], [0, 0]]
    assert scales[:2] == pytest.approx([0.01, 0.0001])
    assert scales[2] > 0


@pytest.mark.parametrize("form", FORMS)
def test_numbers_on_the_grid_are_exact(form):
    """Depthwise gains 1 and 0.5, an identity as projection: all values are whole steps of 1/32, and -4 to 4 is 256 of them."""
    weights = draw_weights([POINTWISE], np.random.default_rng(0))
    weights |= {"0.depthwise.weight": np.array([1, 0.5], np.float32).reshape(2, 1, 1, 1)}
    weights |= {"0.projection.weight": np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1)}
    for name in ("0.depthwise_bn", "0.projection_bn"):
        ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
        weights |= {f"{name}.weight": ones, f"{name}.bias": zeros, f"{name}.running_mean": zeros}
        weights |= {f"{name}.running_var": ones - np.float32(1e-5)}
    span = 127 / 32 if form == "tensorrt" else 255 / 64
    wide = Range(low=-span, high=span)
    names = [node.output[0] for node in build_graph([POINTWISE], weights=weights).graph.node]
    quantisation = Quantisation(ranges={"features": wide, **dict.fromkeys([*names[:-1], "0.projection"], wide)}, form=form)
    features = np.array([[[[2.0]], [[-1.5]]]], np.float32)
    model = build_graph([POINTWISE], weights=weights, precision="int8", quantisation=quantisation)
    assert run(model, features).ravel() == pytest.approx([2.0, -0.75], abs=1e-5)


@pytest.mark.parametrize("reach", [0.5, 4.0, 9.3])
def test_a_gate_without_float_operators_is_the_hard_sigmoid(reach):
    """Also where no value comes near the gate's lower edge at -3, which the zero point must still reach."""
    conv = Block(kind="conv", in_channels=1, out_channels=1, in_size=64, activation="hswish")
    weights = draw_weights([conv], np.random.default_rng(0))
    weights |= {"0.conv.weight": np.ones((1, 1, 1, 1), np.float32), "0.bn.weight": np.ones(1, np.float32)}
    weights |= dict.fromkeys(("0.bn.bias", "0.bn.running_mean"), np.zeros(1, np.float32))
    weights |= {"0.bn.running_var": np.ones(1, np.float32)}
    features = np.linspace(-reach, 4.0, 64 * 64, dtype=np.float32).reshape(1, 1, 64, 64)
    exact = build_graph([conv], weights=weights)
    ranges = ranges_of(exact, features)
    model = build_graph(
        [conv], weights=weights, precision="int8", quantisation=Quantisation(ranges=renamed(ranges, "0.conv.hswish"))
    )
    assert not {"HardSigmoid", "Sigmoid"} & {node.op_type for node in model.graph.node}
    step = (4.0 + max(reach, 3.0)) / 255
    assert np.abs(run(model, features) - run(exact, features)).max() <= 3 * step


def renamed(ranges: dict[str, Range], last: str) -> dict[str, Range]:
    """With the last tensor under the name that it has within a network."""
    output = ranges.get("features_out") or ranges["logits"]
    return ranges | {last: output}


@settings(max_examples=40, deadline=None)
@given(block=any_block(), form=st.sampled_from(FORMS), seed=st.integers(0, 2**32 - 1))
def test_any_block_in_int8_stays_near_the_block(block, form, seed):
    assume(block.in_size > block.kernel_size // 2)  # else taps that see padding only set the scale of those that see something
    rng = np.random.default_rng(seed)
    weights = draw_weights([block], rng)
    features = features_of(block, rng, 8)
    exact = build_graph([block], weights=weights, batch_size=8)
    ranges = ranges_of(exact, features)
    ranges = renamed(ranges, exact.graph.node[-1].name)  # a node is named after its tensor, but the last tensor after its use
    model = build_graph(
        [block], weights=weights, batch_size=8, precision="int8", quantisation=Quantisation(ranges=ranges, form=form)
    )
    expected = run(exact, features)
    error = np.abs(run(model, features) - expected).mean()
    reach = max(span.high - span.low for span in ranges.values())  # outputs may be small differences of large values
    assert error <= 0.03 * reach


@pytest.mark.parametrize("name", ["ofa-mbv3-w0.5", "ofa-mbv3-w1.0"])
@pytest.mark.parametrize("form", FORMS)
def test_a_calibrated_network_in_int8_tells_the_same_images_apart(name, form, rng):
    space = make_space(name, resolutions=(64,), num_classes=10)
    blocks = space.blocks(space.smallest())
    subnet = draw_calibrated(blocks, rng)
    images = features_of(blocks[0], rng, 16)
    exact = build_graph(blocks, weights=subnet.numpy_weights(), batch_size=16)
    quantisation = Quantisation(ranges=ranges_of(exact, images), form=form)
    model = build_graph(blocks, weights=subnet.numpy_weights(), batch_size=16, precision="int8", quantisation=quantisation)
    expected, actual = run(exact, images), run(model, images)
    assert 1e-4 < relative_error(actual, expected) < 0.5, "random weights make much of small differences; trained ones do not"
    assert np.corrcoef((actual - actual.mean(axis=0)).ravel(), (expected - expected.mean(axis=0)).ravel())[0, 1] > 0.85


def test_onnx_runtime_computes_a_network_in_integers(tmp_path, rng):
    space = make_space("ofa-mbv3-w0.5", resolutions=(64,), num_classes=10)
    blocks = space.blocks(space.largest())
    fp32 = build_graph(blocks, rng=rng)
    executed = optimised(build_graph(blocks, rng=rng, precision="int8"), tmp_path)
    convolutions = sum(node.op_type == "Conv" for node in fp32.graph.node)
    assert executed["QLinearConv"] == convolutions
    assert executed["QGemm"] == 2
    assert executed["QLinearAdd"] == sum(block.shortcut for block in blocks)
    assert executed["QLinearGlobalAveragePool"] == sum(block.se_channels > 0 for block in blocks) + 1
    assert executed["HardSigmoid"] == executed["Mul"] == 1, "only that of the linear layer"
    assert {"Conv", "Relu", "Gemm"}.isdisjoint(executed)


@pytest.mark.parametrize("form", FORMS)
def test_only_types_that_the_runtime_takes(form, rng):
    space = make_space("ofa-mbv3-w0.35", resolutions=(64,))
    blocks = space.blocks(space.smallest())
    model = build_graph(blocks, rng=rng, precision="int8", quantisation=Quantisation(form=form))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert not {np.dtype(np.int32), np.dtype(np.int64)} & {values.dtype for values in stored.values()}, "a quantised bias"
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            zero = stored[node.input[2]]
            assert zero.dtype == (np.int8 if form == "tensorrt" else np.uint8)
            assert form != "tensorrt" or zero == 0
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            assert stored[node.input[0]].dtype == np.int8
            assert not stored[node.input[2]].any()
            assert stored[node.input[1]].shape == stored[node.input[0]].shape[:1]
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    dangling = {name for node in model.graph.node for name in node.output} - {
        name for node in model.graph.node for name in node.input
    }
    assert dangling == {"logits"}


@pytest.mark.parametrize("form", FORMS)
def test_layers_stay_in_float_as_asked(form, rng):
    weights = draw_weights([SHORTCUT], rng)
    features = features_of(SHORTCUT, rng, 1)
    exact = build_graph([SHORTCUT], weights=weights)
    layers = [node.name for node in exact.graph.node if node.op_type == "Conv"]
    ranges = renamed(ranges_of(exact, features), "0.shortcut")

    def error(*float_layers: str) -> float:
        quantisation = Quantisation(ranges=ranges, float_layers=frozenset(float_layers), form=form)
        return relative_error(
            run(build_graph([SHORTCUT], weights=weights, precision="int8", quantisation=quantisation), features),
            run(exact, features),
        )

    assert error(*layers) <= 1e-6
    assert error() > 1e-3
    for layer in layers:
        assert error(layer) < 1.5 * error()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"precision": "int8", "fold_batch_norm": False}, "folded"),
        ({"precision": "fp16", "fold_batch_norm": False}, "folded"),
        ({"precision": "fp16", "quantisation": Quantisation()}, "belongs to int8"),
        ({"precision": "int8", "quantisation": Quantisation(float_layers=frozenset({"9.conv"}))}, "9.conv"),
        ({"precision": "int8", "quantisation": Quantisation(ranges={})}, "features is missing"),
    ],
)
def test_wrong_use_is_refused(arguments, sentence, rng):
    with pytest.raises(ValueError, match=sentence):
        build_graph([SHORTCUT], rng=rng, **arguments)


def test_given_weights_need_ranges(rng):
    with pytest.raises(ValueError, match="needs the ranges"):
        build_graph([SHORTCUT], weights=draw_weights([SHORTCUT], rng), precision="int8")


@pytest.mark.parametrize(("low", "high"), [(0.1, 1.0), (-2.0, -1.0), (0.0, float("nan")), (-float("inf"), 1.0)])
def test_a_range_holds_zero(low, high):
    with pytest.raises(ValueError, match="hold 0"):
        Range(low=low, high=high)


@pytest.mark.parametrize("name", SPACE_NAMES)
def test_a_network_in_fp16_is_typed_throughout_and_near(name, rng):
    space = make_space(name, resolutions=(64,), num_classes=10)
    blocks = space.blocks(space.smallest())
    subnet = draw_calibrated(blocks, rng)
    images = features_of(blocks[0], rng, 4)
    model = build_graph(blocks, weights=subnet.numpy_weights(), batch_size=None, precision="fp16")
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT16}
    assert [model.graph.node[place].op_type for place in (0, -1)] == ["Cast", "Cast"]
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    exact = run(build_graph(blocks, weights=subnet.numpy_weights(), batch_size=None), images)
    assert 1e-6 < relative_error(run(model, images), exact) <= (4e-2 if name == "ofa-resnet50" else 1e-2)


def test_weights_beyond_fp16_are_refused(rng):
    weights = draw_weights([SHORTCUT], rng) | {"0.se_expand.bias": np.full(24, 7e4, np.float32)}
    with pytest.raises(FileFormatError, match=r"within ±65504, but 0.se_expand.bias reaches 7e\+04; choose fp32"):
        build_graph([SHORTCUT], weights=weights, precision="fp16")
