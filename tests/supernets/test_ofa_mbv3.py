import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nat_deploy.spaces import WIDTHS, Architecture, OfaMobileNetV3Space
from nat_deploy.supernets import MBConvSupernet, Subnet, extract_subnet
from tests.supernets.networks import make_lively_supernet


@pytest.fixture(scope="module")
def supernet() -> MBConvSupernet:
    return make_lively_supernet()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def some_architectures(space: OfaMobileNetV3Space, count: int) -> list[Architecture]:
    genes = space.sample(np.random.default_rng(5), count)
    return [space.smallest(), space.largest(), *(space.decode(row) for row in genes)]


def test_extracted_subnets_give_the_same_outputs(supernet: MBConvSupernet, images: torch.Tensor) -> None:
    for architecture in some_architectures(supernet.space, 10):
        with torch.no_grad():
            elastic, plain = supernet(images, architecture), extract_subnet(supernet, architecture).double()
        # The plain network holds float32 weights: compare with the elastic one rounded to float32 as well.
        with torch.no_grad():
            rounded = extract_subnet(supernet.float(), architecture)(images.float())
            reference = supernet(images.float(), architecture)
        supernet.double()
        assert reference.std() > 0.01, "an untrained net's logits prove nothing"
        assert torch.equal(rounded, reference)
        torch.testing.assert_close(plain(images), elastic, rtol=1e-4, atol=1e-5)


def test_different_architectures_give_different_outputs(supernet: MBConvSupernet, images: torch.Tensor) -> None:
    with torch.no_grad():
        outputs = [supernet(images, architecture) for architecture in some_architectures(supernet.space, 5)]
    for index, output in enumerate(outputs):
        assert all((output - other).norm() > 1e-2 * output.norm() for other in outputs[index + 1 :])


def test_nothing_remembers_which_subnet_ran_last(supernet: MBConvSupernet, images: torch.Tensor) -> None:
    first, second = some_architectures(supernet.space, 0)
    with torch.no_grad():
        before = supernet(images, first)
        supernet(images, second)
        assert torch.equal(supernet(images, first), before)


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


@pytest.mark.parametrize("width", WIDTHS)
def test_macs_and_parameters_agree_with_torch(width: float) -> None:
    space = OfaMobileNetV3Space(width, (96,), 11)
    genes = space.sample(np.random.default_rng(0), 2)
    counts = space.count(genes)
    for index, row in enumerate(genes):
        with torch.device("meta"):
            network = Subnet(space.blocks(space.decode(row))).eval()
            counter = FlopCounterMode(display=False)
            with counter:
                network(torch.empty(1, 3, 96, 96))
        assert counter.get_total_flops() == 2 * counts.macs[index]
        assert sum(parameter.numel() for parameter in network.parameters()) == counts.num_params[index]


def test_a_new_head_keeps_the_body(supernet: MBConvSupernet) -> None:
    other = supernet.with_classes(3)
    assert other.space.num_classes == 3
    assert other.classifier.linear.weight.shape[0] == 3
    for name, tensor in other.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(tensor, supernet.state_dict()[name].float())
