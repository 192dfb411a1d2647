"""Evaluating many subnets at once must give each what it gets alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nat_deploy.data import DataSplits, batches
from nat_deploy.spaces import Architecture
from nat_deploy.supernets import MBConvSupernet, calibrate_batch_norm, extract_subnet
from nat_deploy.training.evaluate import CalibrationSettings, calibrated_subnet, evaluate, measure_accuracy
from nat_deploy.training.layer_tree import LayerTree
from tests.supernets.networks import make_lively_supernet


@pytest.fixture(scope="module")
def supernet() -> MBConvSupernet:
    return make_lively_supernet(num_classes=10).float()


def drawn(supernet: MBConvSupernet, count: int) -> list[Architecture]:
    genes = supernet.space.sample(np.random.default_rng(5), count)
    return [supernet.space.decode(row) for row in genes]


def test_logits_are_those_of_the_calibrated_subnets(supernet: MBConvSupernet) -> None:
    largest = replace(supernet.space.largest(), resolution=32)
    almost = replace(largest, expand=(*largest.expand[:-1], 3))
    architectures = [replace(a, resolution=32) for a in drawn(supernet, 4)] + [almost, largest, largest]
    doubled = make_lively_supernet(num_classes=10)
    measured = list(torch.randn(48, 3, 32, 32, dtype=torch.float64).split(32))
    images = torch.randn(5, 3, 32, 32, dtype=torch.float64)

    logits = dict(LayerTree(doubled, architectures, measured).logits(images))

    assert sorted(logits) == list(range(len(architectures)))
    for position, architecture in enumerate(architectures):
        alone = calibrate_batch_norm(extract_subnet(doubled, architecture).double(), measured)
        with torch.no_grad():
            torch.testing.assert_close(
                logits[position], alone(images), rtol=1e-4, atol=1e-5
            )  # `extract_subnet` rounds to float32


def test_what_subnets_begin_with_is_held_once(supernet: MBConvSupernet) -> None:
    largest = replace(supernet.space.largest(), resolution=32)
    almost = replace(largest, expand=(*largest.expand[:-1], 3))
    images = [torch.randn(4, 3, 32, 32)]
    one = LayerTree(supernet, [largest], images).num_layers
    assert one == len(supernet.space.blocks(largest))
    assert LayerTree(supernet, [largest, largest], images).num_layers == one
    last_layer_and_head = 5
    assert LayerTree(supernet, [largest, almost], images).num_layers == one + last_layer_and_head


def test_company_and_order_change_no_answer(supernet: MBConvSupernet, digits: DataSplits) -> None:
    architectures = drawn(supernet, 20)  # more than are held at once, of two resolutions
    assert {architecture.resolution for architecture in architectures} == {32, 48}
    train, val = digits.train.subset(torch.arange(64)), digits.val.subset(torch.arange(40))
    few = CalibrationSettings(num_images=48, batch_size=32)

    together = evaluate(supernet, architectures, training_images=train, images=val, calibration=few)
    backwards = evaluate(supernet, architectures[::-1], training_images=train, images=val, calibration=few)

    assert together == backwards[::-1]
    assert len(set(together)) > 3
    for architecture, accuracy in list(zip(architectures, together, strict=True))[::7]:
        alone = calibrated_subnet(supernet, architecture, train, few)
        assert measure_accuracy(alone, batches(val, batch_size=256, resolution=architecture.resolution)) == accuracy


def test_no_images_are_refused(supernet: MBConvSupernet, digits: DataSplits) -> None:
    some, none = digits.val.subset(torch.arange(4)), digits.val.subset(torch.arange(0))
    largest = [supernet.space.largest()]
    with pytest.raises(ValueError, match="calibration needs at least one image"):
        evaluate(supernet, largest, training_images=none, images=some)
    with pytest.raises(ValueError, match="an accuracy needs at least one image"):
        evaluate(supernet, largest, training_images=some, images=none)
    assert evaluate(supernet, [], training_images=some, images=some) == []
