import pytest
import torch

from nat_deploy.spaces import Architecture, OfaMobileNetV3Space, OfaProxylessSpace, SearchSpace
from nat_deploy.supernets import MBConvSupernet
from tests.contracts.supernet_contract import SupernetContract
from tests.supernets.networks import make_lively_supernet


class TestMobileNetV3(SupernetContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return OfaMobileNetV3Space(0.35, (32, 48), 7)

    def widest(self) -> tuple[float, ...]:
        return (6,)


class TestProxyless(SupernetContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return OfaProxylessSpace(1.3, (32, 48), 7)

    def widest(self) -> tuple[float, ...]:
        return (6,)


@pytest.fixture(scope="module")
def supernet() -> MBConvSupernet:
    return make_lively_supernet()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_a_kernel_is_the_transformed_centre_of_the_next_larger_one() -> None:
    layer = make_lively_supernet().layers[0]
    seven = layer.depthwise.weight[2, 0]
    five = (layer.transform_5 @ seven[1:6, 1:6].reshape(25)).reshape(5, 5)
    three = (layer.transform_3 @ five[1:4, 1:4].reshape(9)).reshape(3, 3)
    torch.testing.assert_close(layer.depthwise_weight(7, 4)[2, 0], seven)
    torch.testing.assert_close(layer.depthwise_weight(5, 4)[2, 0], five)
    torch.testing.assert_close(layer.depthwise_weight(3, 4)[2, 0], three)


def test_gradients_reach_only_what_was_used(supernet: MBConvSupernet, images: torch.Tensor) -> None:
    supernet.zero_grad(set_to_none=True)
    supernet(images, supernet.space.smallest()).sum().backward()
    used, unused = supernet.layers[0], supernet.layers[3]
    assert used.expansion.weight.grad[-1].abs().sum() == 0, "channels beyond the active ones"
    assert used.expansion.weight.grad[0].abs().sum() > 0
    assert used.transform_3.grad.abs().sum() > 0
    assert unused.expansion.weight.grad is None
    supernet.zero_grad(set_to_none=True)


@pytest.mark.parametrize("expands", [(6,), (4, 6), (3, 4, 6)])
def test_sorting_channels_changes_no_trained_width(expands: tuple[int, ...], images: torch.Tensor) -> None:
    supernet = make_lively_supernet()
    space = supernet.space
    trained = [space.largest()] + [
        Architecture(space=space.name, resolution=32, depth=(4,) * 5, kernel=(5,) * 20, expand=(expand,) * 20)
        for expand in expands
    ]
    with torch.no_grad():
        before = [supernet(images, architecture) for architecture in trained]
        weights = supernet.layers[4].projection.weight.clone()
        supernet.sort_channels(expands)
        # Squeeze-excite units of a narrower width read other channels only if groups were left: they were not.
        for architecture, output in zip(trained, before, strict=True):
            torch.testing.assert_close(supernet(images, architecture), output, rtol=1e-9, atol=1e-9)
    if expands == (6,):
        assert not torch.equal(weights, supernet.layers[4].projection.weight)
        importance = supernet.layers[4].projection.weight.abs().sum((0, 2, 3))
        assert (importance[:-1] >= importance[1:]).all()
