from pathlib import Path

import pytest
import torch

from nat_deploy.errors import InputError
from nat_deploy.spaces import OfaMobileNetV3WidthsSpace, SearchSpace
from nat_deploy.supernets import WidthsSupernet, make_supernet
from nat_deploy.supernets.ofa_checkpoint import import_supernets
from tests.contracts.supernet_contract import SupernetContract

SPACE = OfaMobileNetV3WidthsSpace((1.0, 1.2), (32, 44), 7)


class TestWidths(SupernetContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return SPACE

    def widest(self) -> tuple[float, ...]:
        return (6,)


def test_each_width_comes_from_its_own_checkpoint(tmp_path: Path) -> None:
    singles = [make_supernet(member, torch.Generator().manual_seed(3)) for member in SPACE.members]
    paths = [tmp_path / f"{single.space.name}.pth" for single in singles]
    for single, path in zip(singles, paths, strict=True):
        torch.save({"state_dict": single.state_dict()}, path)
    whole = import_supernets(paths, SPACE)
    assert isinstance(whole, WidthsSupernet)
    for single, member in zip(singles, whole.members, strict=True):
        assert all(torch.equal(tensor, member.state_dict()[name]) for name, tensor in single.state_dict().items())
    with pytest.raises(InputError, match=r"checkpoints must be 2, of ofa-mbv3-w1\.0, ofa-mbv3-w1\.2 in this order, but 1 came"):
        import_supernets(paths[:1], SPACE)
    with pytest.raises(InputError, match=r"checkpoints must be 1, of ofa-mbv3-w1\.0 in this order, but 2 came"):
        import_supernets(paths, SPACE.members[0])
