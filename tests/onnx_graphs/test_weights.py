"""Names and shapes of weights, and the sentence when they are others."""

import numpy as np
import pytest

from nat_deploy.errors import FileFormatError
from nat_deploy.onnx_graphs import check_weights, draw_weights, fold_batch_norm, weight_shapes
from nat_deploy.spaces import Block, count_params, make_space

LINEAR = Block(kind="linear", in_channels=4, out_channels=3, in_size=1, bias=True)
CONV = Block(kind="conv", in_channels=3, out_channels=4, in_size=8, kernel_size=3, stride=2, activation="hswish")


def test_names_and_shapes_of_a_network_placed_by_hand():
    pool = Block(kind="pool", in_channels=4, out_channels=4, in_size=4)
    assert weight_shapes([CONV, pool, LINEAR]) == {
        "0.conv.weight": (4, 3, 3, 3),
        "0.bn.weight": (4,),
        "0.bn.bias": (4,),
        "0.bn.running_mean": (4,),
        "0.bn.running_var": (4,),
        "2.linear.weight": (3, 4),
        "2.linear.bias": (3,),
    }


@pytest.mark.parametrize("width", [0.35, 1.2])
def test_trainable_shapes_add_up_to_the_counted_parameters(width, rng):
    space = make_space(f"ofa-mbv3-w{width}")
    for genes in space.sample(rng, 5):
        blocks = space.blocks(space.decode(genes))
        shapes = {name: shape for name, shape in weight_shapes(blocks).items() if "running" not in name}
        assert sum(int(np.prod(shape)) for shape in shapes.values()) == sum(count_params(block) for block in blocks)


def test_drawn_weights_have_exactly_the_names_and_shapes(rng):
    space = make_space("ofa-mbv3-w0.5")
    for genes in space.sample(rng, 3):
        blocks = space.blocks(space.decode(genes))
        weights = draw_weights(blocks, rng)
        assert {name: values.shape for name, values in weights.items()} == weight_shapes(blocks)
        assert {values.dtype for values in weights.values()} == {np.dtype(np.float32)}
        check_weights(blocks, weights)


def test_every_wrong_weight_is_named_in_one_sentence(rng):
    weights = draw_weights([CONV], rng)
    del weights["0.bn.bias"]
    weights["0.conv.weight"] = weights["0.conv.weight"][:2]
    weights["7.linear.weight"] = np.zeros((1, 1), np.float32)
    with pytest.raises(FileFormatError) as caught:
        check_weights([CONV], weights)
    sentence = str(caught.value)
    assert "1 missing (0.bn.bias)" in sentence
    assert "1 unexpected (7.linear.weight)" in sentence
    assert "1 misshapen (0.conv.weight is (2, 3, 3, 3) instead of (4, 3, 3, 3))" in sentence
    assert "\n" not in sentence


def test_a_long_list_of_wrong_weights_is_cut_and_counted():
    blocks = make_space("ofa-mbv3-w0.35").blocks(make_space("ofa-mbv3-w0.35").smallest())
    with pytest.raises(FileFormatError, match=r"197 missing \(0\.conv\.weight, .* and 185 more\)"):
        check_weights(blocks, {})


def test_folding_placed_by_hand():
    weight = np.full((1, 1, 1, 1), 3.0, np.float32)
    gain, bias, mean, variance = (np.array([value], np.float32) for value in (2.0, 0.5, 1.0, 3e-5))
    folded, folded_bias = fold_batch_norm(weight, gain, bias, mean, variance, eps=1e-5)
    assert folded.item() == pytest.approx(3 * 2 / np.sqrt(4e-5))  # variance and epsilon, 1e-5, make 4e-5
    assert folded_bias.item() == pytest.approx(0.5 - 1 * 2 / np.sqrt(4e-5))
