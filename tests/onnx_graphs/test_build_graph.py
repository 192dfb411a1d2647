"""Graphs compute what torch computes with the same weights, and keep their shapes, names and numbers."""

import copy
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nat_deploy.errors import ArchitectureError, FileFormatError
from nat_deploy.onnx_graphs import build_graph, build_identity_graph, draw_weights
from nat_deploy.spaces import SPACE_NAMES, Block, make_space
from nat_deploy.supernets import Subnet, calibrate_batch_norm, predict_logits

SMALL_SIZES = (32, 36, 64)
NETWORK_TOLERANCE = 3e-5
"""Torch's own float32 is up to 1.5e-5 off its float64 on the deepest of these random networks: 1e-5 is below rounding."""


def run(model: onnx.ModelProto, features: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: features})[0]


def make_subnet(blocks: tuple[Block, ...], weights: Mapping[str, np.ndarray]) -> Subnet:
    subnet = Subnet(blocks)
    subnet.load_weights({name: torch.from_numpy(values) for name, values in weights.items()})
    return subnet.eval()


def draw_calibrated(blocks: tuple[Block, ...], rng: np.random.Generator) -> Subnet:
    """A random network whose batch norms fit its features: others enlarge rounding errors as they enlarge values."""
    return calibrate_batch_norm(
        make_subnet(blocks, draw_weights(blocks, rng)), [torch.from_numpy(features_of(blocks[0], rng, 16))]
    )


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def features_of(block: Block, rng: np.random.Generator, count: int) -> np.ndarray:
    shape = (count, block.in_channels) if block.kind == "linear" else (count, block.in_channels, block.in_size, block.in_size)
    return rng.standard_normal(shape, dtype=np.float32)


CHANNELS = st.sampled_from([1, 3, 8, 20])
ACTIVATIONS = st.sampled_from(["none", "relu", "relu6", "hswish"])


@st.composite
def any_block(draw: st.DrawFn) -> Block:
    kind = draw(st.sampled_from(["conv", "mbconv", "mbconv", "mbconv", "bottleneck", "maxpool", "pool", "linear"]))
    in_channels, out_channels, in_size = draw(CHANNELS), draw(CHANNELS), draw(st.integers(1, 17))
    kernel_size, stride, activation = draw(st.sampled_from([1, 3, 5, 7])), draw(st.sampled_from([1, 2])), draw(ACTIVATIONS)
    match kind:
        case "pool":
            return Block(kind="pool", in_channels=in_channels, out_channels=in_channels, in_size=in_size)
        case "linear":
            bias = draw(st.booleans())
            return Block(
                kind="linear", in_channels=in_channels, out_channels=out_channels, in_size=1, bias=bias, activation=activation
            )
        case "maxpool":
            return Block(
                kind="maxpool", in_channels=in_channels, out_channels=in_channels, in_size=in_size, kernel_size=3, stride=stride
            )
        case "conv" | "bottleneck":
            shortcut = draw(st.booleans())
            return Block(
                kind=kind,
                in_channels=in_channels,
                mid_channels=draw(CHANNELS) if kind == "bottleneck" else 0,
                out_channels=in_channels if shortcut else out_channels,
                in_size=in_size,
                kernel_size=kernel_size,
                stride=1 if shortcut else stride,
                shortcut=shortcut,
                activation=activation,
            )
    expanded, shortcut = draw(st.booleans()), draw(st.booleans())
    return Block(
        kind="mbconv",
        in_channels=in_channels,
        mid_channels=draw(CHANNELS) if expanded else in_channels,
        out_channels=in_channels if shortcut else out_channels,
        in_size=in_size,
        kernel_size=kernel_size,
        stride=1 if shortcut else stride,
        se_channels=draw(st.sampled_from([0, 8])),
        expanded=expanded,
        shortcut=shortcut,
        activation=activation,
    )


def network_tolerance(name):
    """Sums in a ResNet's convolutions have up to 4,608 terms, and its features never lose their mean."""
    return NETWORK_TOLERANCE * (3 if name == "ofa-resnet50" else 1)


@settings(max_examples=60, deadline=None)
@given(block=any_block(), fold=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_a_block_computes_what_torch_computes(block, fold, seed):
    rng = np.random.default_rng(seed)
    weights = draw_weights([block], rng)
    features = features_of(block, rng, 3)
    actual = run(build_graph([block], weights=weights, batch_size=3, fold_batch_norm=fold), features)
    expected = predict_logits(make_subnet((block,), weights), features)
    assert actual.shape == expected.shape
    cancelled = 1e-6 * np.sqrt(expected.size)  # rounding of values that nearly cancel, where there are only few of them
    assert np.linalg.norm(actual - expected) <= 1e-5 * np.linalg.norm(expected) + cancelled


@pytest.mark.parametrize("name", SPACE_NAMES)
def test_a_network_computes_what_torch_computes(name, rng):
    space = make_space(name, resolutions=SMALL_SIZES, num_classes=10)
    for architecture in (space.smallest(), space.largest(), space.decode(space.sample(rng, 1)[0])):
        blocks = space.blocks(architecture)
        subnet = draw_calibrated(blocks, rng)
        images = features_of(blocks[0], rng, 2)
        with torch.no_grad():
            expected = copy.deepcopy(subnet).double()(torch.from_numpy(images).double()).numpy()
        assert np.ptp(expected, axis=0).max() > 1e-2, "equal outputs would prove nothing"
        for fold in (True, False):
            model = build_graph(blocks, weights=subnet.numpy_weights(), batch_size=2, fold_batch_norm=fold)
            assert relative_error(run(model, images), expected) <= network_tolerance(name)


@pytest.mark.parametrize("fold", [True, False])
def test_the_epsilon_of_batch_norms_is_that_of_torch(fold, rng):
    """With variances as small as the epsilon, another epsilon would show at once."""
    conv = Block(kind="conv", in_channels=3, out_channels=8, in_size=9, kernel_size=3, stride=2, activation="hswish")
    weights = draw_weights([conv], rng) | {"0.bn.running_var": np.full(8, 1e-5, np.float32)}
    features = features_of(conv, rng, 1)
    expected = predict_logits(make_subnet((conv,), weights), features)
    assert relative_error(run(build_graph([conv], weights=weights, fold_batch_norm=fold), features), expected) <= 1e-5


def test_a_free_batch_takes_any_number_of_images(rng):
    space = make_space("ofa-mbv3-w0.35", resolutions=SMALL_SIZES, num_classes=10)
    blocks = space.blocks(space.smallest())
    model = build_graph(blocks, rng=rng, batch_size=None)
    images = features_of(blocks[0], rng, 5)
    together = run(model, images)
    assert together.shape == (5, 10)
    assert relative_error(np.concatenate([run(model, image[None]) for image in images]), together) <= 1e-5
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_fixed_batch_is_written_into_the_graph(batch_size, rng):
    block = Block(kind="pool", in_channels=4, out_channels=4, in_size=5)
    model = build_graph([block], rng=rng, batch_size=batch_size)
    assert [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [batch_size, 4, 5, 5]
    assert [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim] == [batch_size, 4]


def test_names_opset_and_metadata(rng):
    space = make_space("ofa-mbv3-w0.35", resolutions=SMALL_SIZES)
    blocks = space.blocks(space.smallest())
    network, stem, inner = (
        build_graph(chain, rng=rng, metadata={"space": space.name}) for chain in (blocks, blocks[:1], blocks[1:2])
    )
    ends = [(model.graph.input[0].name, model.graph.output[0].name) for model in (network, stem, inner)]
    assert ends == [("images", "logits"), ("images", "features_out"), ("features", "features_out")]
    assert network.opset_import[0].version <= 17
    assert network.ir_version <= 8
    assert {entry.key: entry.value for entry in network.metadata_props} == {"space": space.name}
    onnx.checker.check_model(network, full_check=True)
    assert {node.op_type for node in network.graph.node}.isdisjoint({"BatchNormalization"})
    unfolded = build_graph(blocks, rng=rng, fold_batch_norm=False)
    assert "BatchNormalization" in {node.op_type for node in unfolded.graph.node}


SHORTCUT = Block(
    kind="mbconv", in_channels=8, mid_channels=24, out_channels=8, in_size=7, kernel_size=5, se_channels=8, expanded=True,
    shortcut=True, activation="hswish",
)  # fmt: skip


def test_copies_with_given_weights_apply_the_block_again(rng):
    weights = draw_weights([SHORTCUT], rng)
    features = features_of(SHORTCUT, rng, 1)
    once = build_graph([SHORTCUT], weights=weights)
    thrice = build_graph([SHORTCUT], weights=weights, copies=3)
    assert relative_error(run(thrice, features), run(once, run(once, run(once, features)))) <= 1e-5
    assert len(thrice.graph.node) == 3 * len(once.graph.node)


def test_copies_with_random_weights_have_their_own(rng):
    model = build_graph([SHORTCUT], rng=rng, copies=2)
    first, second = (
        next(
            onnx.numpy_helper.to_array(tensor)
            for tensor in model.graph.initializer
            if tensor.name == f"{index}.projection.weight"
        )
        for index in range(2)
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "block",
    [
        Block(kind="conv", in_channels=3, out_channels=8, in_size=8, kernel_size=3),
        Block(kind="mbconv", in_channels=8, mid_channels=8, out_channels=8, in_size=8, kernel_size=3, stride=2),
        Block(kind="pool", in_channels=8, out_channels=8, in_size=8),
        Block(kind="pool", in_channels=8, out_channels=8, in_size=1),
        Block(kind="linear", in_channels=8, out_channels=9, in_size=1),
    ],
    ids=lambda block: block.key,
)
def test_copies_of_a_block_that_changes_the_shape_are_refused(block, rng):
    with pytest.raises(ArchitectureError, match="copies above 1 need blocks that give the shape they take"):
        build_graph([block], rng=rng, copies=2)


def test_blocks_that_do_not_fit_are_refused(rng):
    conv = Block(kind="conv", in_channels=3, out_channels=8, in_size=8)
    linear = Block(kind="linear", in_channels=8, out_channels=9, in_size=1)
    with pytest.raises(ArchitectureError, match=r"block 1 must take what block 0 gives, but linear\(8->9\) follows conv"):
        build_graph([conv, linear], rng=rng)


def test_wrong_weights_are_refused_before_anything_is_built(rng):
    with pytest.raises(FileFormatError, match=r"1 missing \(0\.projection\.weight\)"):
        build_graph([SHORTCUT], weights={k: v for k, v in draw_weights([SHORTCUT], rng).items() if k != "0.projection.weight"})


def test_same_seed_same_graph():
    first, second = (build_graph([SHORTCUT], rng=np.random.default_rng(3)).SerializeToString() for _ in range(2))
    assert first == second


def test_the_identity_graph_hands_its_input_on(rng):
    features = rng.standard_normal((1, 8, 3, 3), dtype=np.float32)
    assert np.array_equal(run(build_identity_graph((1, 8, 3, 3)), features), features)


@pytest.mark.parametrize("name", ["ofa-mbv3-w0.35", "ofa-mbv3-w1.0"])
def test_random_weights_let_values_neither_vanish_nor_explode(name, rng):
    space = make_space(name, resolutions=SMALL_SIZES)
    for architecture in (space.smallest(), space.largest(), *(space.decode(genes) for genes in space.sample(rng, 3))):
        blocks = space.blocks(architecture)
        for block in set(blocks[1:-3]):
            spread = run(build_graph([block], rng=rng, batch_size=4), features_of(block, rng, 4)).std()
            assert 0.2 < spread < 3, block.key
        logits = run(build_graph(blocks, rng=rng, batch_size=4), features_of(blocks[0], rng, 4))
        assert 0.01 < logits.std(axis=0).mean() < 1000
        assert np.abs(logits).max() < 1e5
