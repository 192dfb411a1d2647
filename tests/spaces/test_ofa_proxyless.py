"""The Once-for-all ProxylessNAS space against published figures."""

import numpy as np
import pytest

from nat_deploy.errors import ArchitectureError
from nat_deploy.spaces import OfaProxylessSpace, SearchSpace
from tests.contracts.space_contract import SpaceContract


class TestPhotographs(SpaceContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return OfaProxylessSpace()


def test_published_sizes() -> None:
    """Published: 1004.9M and 265.5M MACs, 7.942M and 3.719M parameters."""
    space = OfaProxylessSpace(resolutions=(224,))
    counts = space.count(np.stack([space.encode(space.largest()), space.encode(space.smallest())]))
    assert [round(macs / 1e6, 1) for macs in counts.macs] == [1004.9, 265.5]
    assert [round(params / 1e6, 3) for params in counts.num_params] == [7.942, 3.719]


def test_the_last_stage_has_one_layer_and_no_shortcut() -> None:
    space = OfaProxylessSpace(resolutions=(224,))
    assert space.largest().depth == (4, 4, 4, 4, 4, 1)
    assert space.smallest().depth == (2, 2, 2, 2, 2, 1)
    last = space.blocks(space.largest())[-4]
    assert (last.in_channels, last.out_channels, last.stride, last.shortcut) == (248, 416, 1, False)
    assert {block.batch_norm_eps for block in space.blocks(space.largest()) if block.kind in ("conv", "mbconv")} == {1e-3}


def test_another_width_is_refused() -> None:
    with pytest.raises(ArchitectureError, match=r"width must be one of 1\.3, but it is 1\.0"):
        OfaProxylessSpace(1.0)
