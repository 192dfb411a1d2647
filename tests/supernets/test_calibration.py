import numpy as np
import pytest
import torch

from nat_deploy.spaces.block import Block
from nat_deploy.supernets import Subnet, calibrate_batch_norm, extract_subnet
from nat_deploy.supernets.folding import fold_batch_norms
from nat_deploy.supernets.layers import BatchNorm
from tests.supernets.networks import make_lively_supernet


def test_statistics_are_the_weighted_means_of_the_batches() -> None:
    conv = Block(kind="conv", in_channels=3, out_channels=4, in_size=8)
    subnet = Subnet([conv])
    torch.nn.init.normal_(subnet[0].conv.weight)
    batches = [torch.randn(6, 3, 8, 8), 3 + torch.randn(2, 3, 8, 8)]
    calibrated = calibrate_batch_norm(subnet, batches)
    with torch.no_grad():
        outputs = [subnet[0].conv(batch) for batch in batches]
    mean = (6 * outputs[0].mean((0, 2, 3)) + 2 * outputs[1].mean((0, 2, 3))) / 8
    variance = (6 * outputs[0].var((0, 2, 3), correction=0) + 2 * outputs[1].var((0, 2, 3), correction=0)) / 8
    torch.testing.assert_close(calibrated[0].bn.running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(calibrated[0].bn.running_var, variance, rtol=1e-4, atol=1e-5)


def test_calibration_leaves_the_original_and_forgets_old_statistics() -> None:
    supernet = make_lively_supernet().float()
    architecture = supernet.space.decode(supernet.space.sample(np.random.default_rng(1), 1)[0])
    images = torch.randn(64, 3, 32, 32)
    subnet = extract_subnet(supernet, architecture)
    before = {name: tensor.clone() for name, tensor in subnet.state_dict().items()}
    first = calibrate_batch_norm(subnet, [images])
    assert all(torch.equal(tensor, before[name]) for name, tensor in subnet.state_dict().items())
    for module in subnet.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.fill_(100.0)
    second = calibrate_batch_norm(subnet, [images])
    with torch.no_grad():
        assert torch.equal(first(images), second(images))
        # With the statistics of the very batch, evaluation normalises as training does.
        torch.testing.assert_close(second(images), extract_subnet(supernet, architecture).train()(images), rtol=1e-3, atol=1e-3)


def test_calibration_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        calibrate_batch_norm(Subnet([Block(kind="conv", in_channels=3, out_channels=4, in_size=8)]), [])


def test_folding_changes_no_output_and_not_the_original() -> None:
    supernet = make_lively_supernet()
    for genes in supernet.space.sample(np.random.default_rng(2), 3):
        subnet = extract_subnet(supernet, supernet.space.decode(genes)).double()
        images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
        with torch.no_grad():
            before = subnet(images)
            torch.testing.assert_close(fold_batch_norms(subnet)(images), before, rtol=1e-9, atol=1e-9)
            assert torch.equal(subnet(images), before)
        assert not any(isinstance(module, BatchNorm) for module in fold_batch_norms(subnet).modules())
