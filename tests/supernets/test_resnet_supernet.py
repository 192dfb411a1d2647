import pytest

from nat_deploy.spaces import OfaResNet50Space, SearchSpace
from tests.contracts.supernet_contract import SupernetContract


class TestResNet50(SupernetContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return OfaResNet50Space((32, 44), 7)

    def widest(self) -> tuple[float, ...]:
        return (0.35,)
