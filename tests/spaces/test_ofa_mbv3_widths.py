"""Two widths of MobileNetV3 as one space: each of its points is a point of one of the spaces of one width."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import ArchitectureError
from nat_deploy.predictors.accuracy.features import accuracy_features
from nat_deploy.spaces import OfaMobileNetV3Space, OfaMobileNetV3WidthsSpace, SearchSpace
from nat_deploy.spaces.subnet_file import SubnetFile, load_subnet, save_subnet
from tests.contracts.space_contract import SpaceContract


class TestSmallImages(SpaceContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return OfaMobileNetV3WidthsSpace((1.0, 1.2), (32, 48, 64), 10)


def test_published_sizes() -> None:
    """Published: 121.28M MACs of the smallest of w1.0, 843.10M of the largest of w1.2."""
    space = OfaMobileNetV3WidthsSpace(resolutions=(224,))
    counts = space.count(np.stack([space.encode(space.smallest()), space.encode(space.largest())]))
    assert [round(macs / 1e6, 2) for macs in counts.macs] == [121.28, 843.10]


def test_the_width_gene_chooses_the_space() -> None:
    space = OfaMobileNetV3WidthsSpace(resolutions=(32, 48), num_classes=7)
    genes = space.sample(np.random.default_rng(0), 20)
    assert set(genes[:, 1]) == {0, 1}
    for row in genes:
        architecture = space.decode(row)
        one = OfaMobileNetV3Space((1.0, 1.2)[row[1]], (32, 48), 7)
        assert architecture.width == (one.width,)
        assert space.blocks(architecture) == one.blocks(replace(architecture, space=one.name, width=()))


def test_surrogates_see_the_width() -> None:
    space = OfaMobileNetV3WidthsSpace(resolutions=(32, 48), num_classes=7)
    narrow = space.sample(np.random.default_rng(0), 1)
    wide = narrow.copy()
    narrow[0, 1], wide[0, 1] = 0, 1
    values = accuracy_features(space, np.concatenate([narrow, wide])).values
    assert np.array_equal(values[:, -1], [-1.0, 1.0])
    assert np.array_equal(values[0, :2], values[1, :2]), "the resolution is the same"


@pytest.mark.parametrize(
    ("width", "words"), [((), "width must have 1 values"), ((0.5,), r"width\[0\] must be one of 1, 1.2, but it is 0.5")]
)
def test_other_widths_are_refused(width: tuple[float, ...], words: str) -> None:
    space = OfaMobileNetV3WidthsSpace()
    with pytest.raises(ArchitectureError, match=words):
        space.check(replace(space.smallest(), width=width))


@pytest.mark.parametrize("widths", [(1.0,), (1.2, 1.0), (1.0, 1.0), (1.0, 1.1)])
def test_a_space_needs_two_known_rising_widths(widths: tuple[float, ...]) -> None:
    with pytest.raises(ArchitectureError, match="width"):
        OfaMobileNetV3WidthsSpace(widths)


def test_a_file_keeps_the_width(tmp_path: Path) -> None:
    space = OfaMobileNetV3WidthsSpace(num_classes=7)
    architecture = replace(space.largest(), resolution=224)
    save_subnet(tmp_path / "subnet.json", SubnetFile(architecture=architecture, num_classes=7))
    read = load_subnet(tmp_path / "subnet.json")
    assert (read.architecture, read.space) == (architecture, space)
