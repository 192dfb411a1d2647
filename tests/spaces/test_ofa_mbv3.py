"""The Once-for-all MobileNetV3 spaces against published figures and counts by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat_deploy.errors import ArchitectureError
from nat_deploy.spaces import (
    SMALL_IMAGE_RESOLUTIONS,
    WIDTHS,
    Block,
    OfaMobileNetV3Space,
    SearchSpace,
    count_macs,
    count_params,
    count_peak_activation_bytes,
    make_space,
)
from nat_deploy.spaces.block import make_divisible
from tests.contracts.space_contract import SpaceContract


@pytest.fixture(params=WIDTHS, ids=str)
def width(request: pytest.FixtureRequest) -> float:
    value: float = request.param
    return value


class TestPhotographs(SpaceContract):
    @pytest.fixture
    def space(self, width: float) -> SearchSpace:
        return OfaMobileNetV3Space(width)


class TestSmallImages(SpaceContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return OfaMobileNetV3Space(1.0, SMALL_IMAGE_RESOLUTIONS, 10)


# (width, resolution, MACs of the smallest and the largest, parameters of both). Published: 41.476M / 188.2M ... 251.1M / 1099.1M
# and 3 410 792 / 7 664 760, 4.602M / 10.702M; the last digits of the others are ours, counted from the channel table.
PUBLISHED = [
    (1.0, 128, 41_476_224, 188_248_320, 3_410_792, 7_664_760),
    (1.0, 192, 89_841_344, 417_292_160, 3_410_792, 7_664_760),
    (1.0, 224, 121_278_672, 566_170_656, 3_410_792, 7_664_760),
    (1.0, 256, 157_552_512, 737_953_536, 3_410_792, 7_664_760),
    (1.2, 128, 65_536_896, 279_987_456, 4_602_456, 10_701_632),
    (1.2, 192, 142_834_656, 621_268_416, 4_602_456, 10_701_632),
    (1.2, 224, 193_078_200, 843_101_040, 4_602_456, 10_701_632),
    (1.2, 256, 251_051_520, 1_099_061_760, 4_602_456, 10_701_632),
]


@pytest.mark.parametrize(("width", "resolution", "macs_low", "macs_high", "params_low", "params_high"), PUBLISHED)
def test_published_sizes(width: float, resolution: int, macs_low: int, macs_high: int, params_low: int, params_high: int) -> None:
    space = OfaMobileNetV3Space(width, (resolution,))
    counts = space.count(np.stack([space.encode(space.smallest()), space.encode(space.largest())]))
    assert counts.macs.tolist() == [macs_low, macs_high]
    assert counts.num_params.tolist() == [params_low, params_high]


def test_published_channels() -> None:
    """Channel tables of the published networks: in, mid at e = 3, 4, 6, squeeze at e = 3, 4, 6, out."""
    table = {
        (1.0, 0): (16, (48, 64, 96), (0, 0, 0), 24),
        (1.0, 5): (40, (120, 160, 240), (32, 40, 64), 40),
        (1.0, 12): (80, (240, 320, 480), (64, 80, 120), 112),
        (1.0, 19): (160, (480, 640, 960), (120, 160, 240), 160),
        (1.2, 0): (24, (72, 96, 144), (0, 0, 0), 32),
        (1.2, 4): (32, (96, 128, 192), (24, 32, 48), 48),
        (1.2, 13): (136, (408, 544, 816), (104, 136, 208), 136),
        (1.2, 16): (136, (408, 544, 816), (104, 136, 208), 192),
    }
    for (width, layer), (in_channels, mids, squeezes, out_channels) in table.items():
        space = OfaMobileNetV3Space(width, (224,))
        for expand, mid, squeeze in zip((3, 4, 6), mids, squeezes, strict=True):
            block = space.blocks(replace(space.largest(), expand=(expand,) * 20))[2 + layer]
            assert (block.in_channels, block.mid_channels, block.se_channels, block.out_channels) == (
                in_channels,
                mid,
                squeeze,
                out_channels,
            )


def test_whole_network_by_hand() -> None:
    """The smallest network at 224 pixels, block by block: `(in, mid, out, kernel, stride, size, squeeze)`."""
    space = OfaMobileNetV3Space(1.0, (224,))
    layers = [
        (16, 48, 24, 3, 2, 112, 0),
        (24, 72, 24, 3, 1, 56, 0),
        (24, 72, 40, 3, 2, 56, 24),
        (40, 120, 40, 3, 1, 28, 32),
        (40, 120, 80, 3, 2, 28, 0),
        (80, 240, 80, 3, 1, 14, 0),
        (80, 240, 112, 3, 1, 14, 64),
        (112, 336, 112, 3, 1, 14, 88),
        (112, 336, 160, 3, 2, 14, 88),
        (160, 480, 160, 3, 1, 7, 120),
    ]
    blocks = space.blocks(space.smallest())
    found = [
        (b.in_channels, b.mid_channels, b.out_channels, b.kernel_size, b.stride, b.in_size, b.se_channels) for b in blocks[2:-4]
    ]
    assert found == layers
    assert [b.activation for b in blocks[2:-4]] == ["relu"] * 4 + ["hswish"] * 6
    assert [b.shortcut for b in blocks[2:-4]] == [False, True] * 5
    assert [b.kind for b in blocks[-4:]] == ["conv", "pool", "linear", "linear"]


class TestBlocks:
    def test_mbconv_by_hand(self) -> None:
        block = Block(
            kind="mbconv",
            in_channels=24,
            mid_channels=72,
            out_channels=40,
            in_size=56,
            kernel_size=5,
            stride=2,
            se_channels=24,
            expanded=True,
            activation="relu",
        )
        assert block.out_size == 28
        assert count_macs(block) == 24 * 72 * 56**2 + 25 * 72 * 28**2 + 2 * 72 * 24 + 72 * 40 * 28**2  # 9 092 640
        squeeze_excite = 72 * 24 + 24 + 24 * 72 + 72
        assert count_params(block) == (24 * 72 + 144) + (25 * 72 + 144) + squeeze_excite + (72 * 40 + 80)  # 10 328
        assert count_peak_activation_bytes(block) == 4 * (24 + 72) * 56**2  # the expansion's input and output

    def test_shortcut_keeps_the_input_alive(self) -> None:
        block = Block(kind="mbconv", in_channels=8, mid_channels=8, out_channels=8, in_size=4, shortcut=True, expanded=True)
        assert count_peak_activation_bytes(block) == 4 * 16 * (8 + 8 + 8)

    def test_simple_blocks_by_hand(self) -> None:
        conv = Block(kind="conv", in_channels=3, out_channels=16, in_size=9, kernel_size=3, stride=2)
        assert (conv.out_size, count_macs(conv), count_params(conv)) == (5, 9 * 3 * 16 * 25, 9 * 3 * 16 + 32)
        pool = Block(kind="pool", in_channels=7, out_channels=7, in_size=5)
        assert (count_macs(pool), count_params(pool), count_peak_activation_bytes(pool)) == (0, 0, 4 * (7 * 25 + 7))
        linear = Block(kind="linear", in_channels=5, out_channels=3, in_size=1, bias=True)
        assert (count_macs(linear), count_params(linear)) == (15, 18)

    def test_keys_differ_where_blocks_differ(self) -> None:
        space = OfaMobileNetV3Space(1.0)
        rows = space.sample(np.random.default_rng(0), 100)
        blocks = {block for genes in rows for block in space.blocks(space.decode(genes))}
        assert len({block.key for block in blocks}) == len(blocks) > 500

    @pytest.mark.parametrize(
        ("value", "rounded"), [(16 * 0.35, 8), (24 * 1.2, 32), (40 * 1.2, 48), (112 * 1.2, 136), (18, 24), (3, 8)]
    )
    def test_make_divisible_by_hand(self, value: float, rounded: int) -> None:
        assert make_divisible(value) == rounded


LAYERS = st.lists(st.integers(0, 9), min_size=20, max_size=20)


@settings(max_examples=150, deadline=None)
@given(first=LAYERS, second=LAYERS, edits=st.lists(st.integers(0, 19), max_size=20))
def test_same_network_iff_same_repair(first: list[int], second: list[int], edits: list[int]) -> None:
    space = OfaMobileNetV3Space()
    for place in edits:  # otherwise two random strings are never the same network
        second[place] = first[place]
    rows = np.array([[24, 0, *first], [24, 0, *second]])
    rows[:, 2:] = np.maximum(rows[:, 2:], space.gene_lower[2:])
    one, two = space.repair(rows)
    assert np.array_equal(one, two) == (space.decode(rows[0]) == space.decode(rows[1]))


def test_a_fourth_layer_without_a_third_is_no_layer() -> None:
    space = OfaMobileNetV3Space()
    genes = np.array([24, 0] + [1, 1, 0, 5] + [1, 1, 2, 0] * 4)
    assert space.repair(genes[None])[0].tolist() == [24, 0] + [1, 1, 0, 0] + [1, 1, 2, 0] * 4
    assert space.decode(genes).depth == (2, 3, 3, 3, 3)


def test_sampling_shares() -> None:
    """Uniform: depth 2 when the third gene is 0 (1/10), 3 when only the fourth is (9/100), else 4; balanced: a third each."""
    space = OfaMobileNetV3Space()
    for sampling, shares in (("uniform", (0.1, 0.09, 0.81)), ("balanced-depth", (1 / 3, 1 / 3, 1 / 3))):
        genes = space.sample(np.random.default_rng(5), 8000, sampling=sampling)  # type: ignore[arg-type]
        layers = genes[:, 2:].reshape(-1, 4)
        depth = (layers > 0).sum(axis=1)
        assert [np.mean(depth == value) for value in (2, 3, 4)] == pytest.approx(shares, abs=0.008)
        assert np.bincount(layers[layers > 0], minlength=10)[1:] / np.sum(layers > 0) == pytest.approx([1 / 9] * 9, abs=0.006)
        assert np.bincount(genes[:, 0], minlength=33) / len(genes) == pytest.approx([1 / 33] * 33, abs=0.01)


class TestRefusals:
    @pytest.mark.parametrize("name", ["ofa-mbv3-w1.1", "ofa-mbv3-w01.0", "ofa-mbv3", "", "resnet-w1.0"])
    def test_unknown_space(self, name: str) -> None:
        with pytest.raises(ArchitectureError, match=r"space must be one of ofa-mbv3-w0\.35"):
            make_space(name)

    @pytest.mark.parametrize("resolutions", [(64, 32), (32, 32), (16, 32)])
    def test_resolutions(self, resolutions: tuple[int, ...]) -> None:
        with pytest.raises(ArchitectureError, match="rising, different and at least 32"):
            make_space("ofa-mbv3-w1.0", resolutions=resolutions)

    def test_num_classes(self) -> None:
        with pytest.raises(ArchitectureError, match="num_classes must be at least 2, but it is 1"):
            make_space("ofa-mbv3-w1.0", num_classes=1)

    def test_values_name_their_place(self) -> None:
        space = OfaMobileNetV3Space()
        arch = space.smallest()
        for broken, sentence in [
            (replace(arch, depth=(2, 2, 5, 2, 2)), r"depth\[2\] must be one of 2, 3, 4, but it is 5"),
            (replace(arch, depth=(2, 2)), "depth must have 5 values .* but it has 2"),
            (replace(arch, kernel=(3,) * 9), "kernel must have 10 values .* but it has 9"),
            (replace(arch, expand=(3,) * 9 + (5,)), r"expand\[9\] must be one of 3, 4, 6, but it is 5"),
            (replace(arch, resolution=130), r"resolution must be one of 128, 132, \.\.\., 256, but it is 130"),
        ]:
            with pytest.raises(ArchitectureError, match=sentence):
                space.check(broken)
