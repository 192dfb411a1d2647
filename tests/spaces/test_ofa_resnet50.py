"""The Once-for-all ResNet-50-D space against published figures and counts by hand."""

from dataclasses import replace

import numpy as np
import pytest

from nat_deploy.errors import ArchitectureError
from nat_deploy.spaces import Block, OfaResNet50Space, SearchSpace, count_macs, count_params, count_peak_activation_bytes
from tests.contracts.space_contract import SpaceContract


class TestPhotographs(SpaceContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return OfaResNet50Space((128, 132, 224), 1000)


def test_published_sizes() -> None:
    """Published: 7.49G and 0.962G MACs, 48.106M and 6.54M parameters."""
    space = OfaResNet50Space((224,))
    counts = space.count(np.stack([space.encode(space.largest()), space.encode(space.smallest())]))
    assert [round(macs / 1e9, 2) for macs in counts.macs] == [7.49, 0.96]
    assert [round(params / 1e6, 2) for params in counts.num_params] == [48.11, 6.54]


def test_published_channels() -> None:
    space = OfaResNet50Space((224,))
    for place, width in enumerate((0.65, 0.8, 1.0)):
        blocks = space.blocks(replace(space.largest(), width=((0.65, 0.65, 1.0)[place], *[width] * 5)))
        assert [block.out_channels for block in blocks[:3]] == [(24, 24, 32)[place]] * 2 + [(40, 48, 64)[place]]
        stages = [blocks[4 + start].out_channels for start in (0, 4, 8, 14)]
        assert stages == [(168, 208, 256)[place], (336, 408, 512)[place], (664, 816, 1024)[place], (1328, 1640, 2048)[place]]


def test_the_stem_loses_its_second_convolution_alone() -> None:
    space = OfaResNet50Space((224,))
    largest = space.largest()
    smaller = replace(largest, depth=(0, 4, 4, 6, 4), kernel=largest.kernel[1:], expand=largest.expand[1:])
    assert space.blocks(smaller) == (*space.blocks(largest)[:1], *space.blocks(largest)[2:])
    with pytest.raises(ArchitectureError, match=r"depth\[0\] must be one of 0, 1, but it is 2"):
        space.check(replace(largest, depth=(2, 4, 4, 6, 4)))
    with pytest.raises(ArchitectureError, match=r"expand\[0\] must be one of 1, but it is 0\.2"):
        space.check(replace(largest, expand=(0.2, *largest.expand[1:])))
    with pytest.raises(ArchitectureError, match=r"width must have 6 values .* but it has 0"):
        space.check(replace(largest, width=()))


def test_a_bottleneck_by_hand() -> None:
    block = Block(
        kind="bottleneck", in_channels=8, mid_channels=4, out_channels=16, in_size=5, kernel_size=3, stride=2, activation="relu"
    )
    assert block.out_size == 3
    # 1x1 at 5x5, 3x3 and 1x1 at 3x3, and the downsampling 1x1 at 3x3
    assert count_macs(block) == 8 * 4 * 25 + 9 * 4 * 4 * 9 + 4 * 16 * 9 + 8 * 16 * 9
    assert count_params(block) == (8 * 4 + 8) + (9 * 4 * 4 + 8) + (4 * 16 + 32) + (8 * 16 + 32)
    # its input waits (200) while 1x1 (100) and 3x3 (36) are there; at the end two outputs (144 each) and the pooled input (72)
    assert count_peak_activation_bytes(block) == 4 * max(200 + 100 + 36, 200 + 36 + 144, 144 + 72 + 200)
    assert block.key == "bottleneck(8->16, mid 4, k3, s2, 5x5, relu)"
    with pytest.raises(ValueError, match="mid_channels of a block 'bottleneck'"):
        replace(block, mid_channels=0)
