"""int8 after training, on a trained network and real images. Labels are what the network itself says: its accuracy is then 100 %,
and the drop is the share of images that int8 puts elsewhere."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from nat_deploy.data import DataSplits, batches
from nat_deploy.errors import ParityError
from nat_deploy.export import LabelledImages, QuantisationReport, quantise_subnet
from nat_deploy.export.inference import logits_of
from nat_deploy.export.quantisation import Damage, divergence
from nat_deploy.onnx_graphs import Quantisation, build_graph, layer_names
from nat_deploy.spaces import Block
from nat_deploy.supernets import Subnet


@pytest.fixture(scope="module")
def blocks(trained_subnet: Subnet) -> tuple[Block, ...]:
    return trained_subnet.blocks


@pytest.fixture(scope="module")
def weights(trained_subnet: Subnet) -> Mapping[str, np.ndarray]:
    return trained_subnet.numpy_weights()


@pytest.fixture(scope="module")
def images(flowers: DataSplits) -> np.ndarray:
    """Training images (90, 3, 32, 32)."""
    return images_of(flowers.train)


@pytest.fixture(scope="module")
def validation(flowers: DataSplits, blocks: tuple[Block, ...], weights: Mapping[str, np.ndarray]) -> LabelledImages:
    assert flowers.test is not None
    images = images_of(flowers.test)
    logits = logits_of(build_graph(blocks, weights=weights, batch_size=None), images)
    return LabelledImages(images=images, labels=logits.argmax(axis=1))


Quantise = Callable[..., tuple[Quantisation, QuantisationReport]]


@pytest.fixture(scope="module")
def quantise(
    trained_subnet: Subnet,
    flowers: DataSplits,
    images: np.ndarray,
    validation: LabelledImages,
    tmp_path_factory: pytest.TempPathFactory,
) -> Quantise:
    """After training, with the images of this file unless others are given."""

    def quantise(**options: object) -> tuple[Quantisation, QuantisationReport]:
        given = {"images": images, "validation": validation, "epochs": 0, "checkpoint": tmp_path_factory.mktemp("int8") / "none"}
        found = quantise_subnet(trained_subnet, flowers, **(given | options))  # type: ignore[arg-type]
        assert found.subnet is trained_subnet
        return found.quantisation, found.report

    return quantise


def images_of(image_set) -> np.ndarray:
    (drawn,) = batches(image_set, batch_size=len(image_set), resolution=32)
    return np.ascontiguousarray(drawn[0].contiguous().numpy())


def damage(drop_points: float, share_far: float = 0.0) -> Damage:
    return Damage(drop_points=drop_points, share_far=share_far)


@pytest.mark.parametrize("form", ["onnxruntime", "tensorrt"])
def test_a_trained_network_keeps_its_classes(form, quantise, blocks, weights, images, validation):
    quantisation, report = quantise(form=form, max_drop=20.0)
    assert report.fp32_top1_percent == 100
    assert report.drop_points == pytest.approx(100 - report.top1_percent)
    assert 0 <= report.drop_points <= 20
    assert report.num_validation_images == 100
    assert report.num_calibration_images == len(images) // 2
    squeeze_excite = {name for name in layer_names(blocks) if ".se_" in name}
    assert set(report.float_layers) == (squeeze_excite if form == "tensorrt" else set())
    model = build_graph(blocks, weights=weights, batch_size=None, precision="int8", quantisation=quantisation)
    drop = 100 - validation.top1_percent(logits_of(model, validation.images))
    assert drop == pytest.approx(report.drop_points)


def test_layers_stay_in_float_until_nothing_is_lost(quantise, images):
    few = images[:24]
    loose, loose_report = quantise(images=few, max_drop=100.0)
    assert loose_report.float_layers == ()
    assert loose_report.drop_points > 0, "there was nothing to save"
    strict, report = quantise(images=few, max_drop=0.0)
    assert report.drop_points <= 0
    assert 0 < len(report.float_layers) < report.num_layers
    assert set(report.float_layers) == strict.float_layers
    assert strict.ranges == loose.ranges


def test_the_layer_that_hurts_goes_first(quantise, monkeypatch):
    """A network that suffers from one layer alone, by decree."""
    monkeypatch.setattr(
        "nat_deploy.export.quantisation.Int8Search.damage",
        lambda self, q: damage(0.0 if "3.projection" in q.float_layers else 9.0),
    )
    monkeypatch.setattr(
        "nat_deploy.export.quantisation.Int8Search._disturbance", lambda self, q: 0.1 if "3.projection" in q.float_layers else 1.0
    )
    steps: list[tuple[str, int, int]] = []
    _, report = quantise(on_step=lambda *step: steps.append(step))
    assert report.float_layers == ("3.projection",)
    assert steps[0] == ("calibrating", 0, 4)
    assert steps[-1] == ("measuring sensitivity", report.num_layers, report.num_layers)


def test_accuracy_by_chance_is_not_enough(quantise, monkeypatch):
    """Outputs far from the network's send layers to float, even where as many images are right."""
    monkeypatch.setattr(
        "nat_deploy.export.quantisation.Int8Search.damage",
        lambda self, q: damage(0.0, share_far=0.0 if "3.projection" in q.float_layers else 0.3),
    )
    monkeypatch.setattr(
        "nat_deploy.export.quantisation.Int8Search._disturbance", lambda self, q: 0.1 if "3.projection" in q.float_layers else 1.0
    )
    _, report = quantise()
    assert report.float_layers == ("3.projection",)


def test_int8_that_no_layer_bears_is_refused(quantise, blocks, monkeypatch):
    everything = len(layer_names(blocks))
    monkeypatch.setattr(
        "nat_deploy.export.quantisation.Int8Search.damage",
        lambda self, q: damage(0.0 if len(q.float_layers) == everything else 9.0),
    )
    monkeypatch.setattr("nat_deploy.export.quantisation.Int8Search.ranked", lambda self, q, layers: list(layers))
    with pytest.raises(
        ParityError, match="at most 1 points of accuracy and keep the outputs, but loses more with any layer; raise --max-drop"
    ):
        quantise()


def test_one_image_is_enough_to_calibrate(quantise, images):
    _, report = quantise(images=images[:1], max_drop=100.0)
    assert report.num_calibration_images == 1


def test_same_seed_same_quantisation(quantise):
    first, second = (quantise(max_drop=100.0, seed=3) for _ in range(2))
    assert first == second


def test_divergence_placed_by_hand():
    even, certain = np.log([[0.5, 0.5]]), np.log([[0.8, 0.2]])
    assert divergence(even, even + 7.0) == pytest.approx(0.0, abs=1e-12)
    assert divergence(even, certain) == pytest.approx(0.5 * np.log(0.5 / 0.8) + 0.5 * np.log(0.5 / 0.2))


def test_accuracy_placed_by_hand(validation):
    few = replace(validation, images=validation.images[:4], labels=np.array([0, 1, 1, 2]))
    assert few.top1_percent(np.eye(3)[[0, 1, 2, 2]]) == 75.0
