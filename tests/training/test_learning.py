"""Training on real images: what is learnt must show in the accuracy of subnets that were cut out and calibrated."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nat_deploy.data import DataSplits, batches
from nat_deploy.errors import FileFormatError
from nat_deploy.spaces import Genes, OfaMobileNetV3Space
from nat_deploy.supernets import MBConvSupernet, load_weights
from nat_deploy.training.adapt import AdaptationSettings
from nat_deploy.training.evaluate import measure_accuracy
from nat_deploy.training.evaluator import EvaluatorSettings, SupernetEvaluator
from nat_deploy.training.phases import Phase, progressive_shrinking, sandwich_schedule
from nat_deploy.training.pretrain import EpochRecord, TrainingSettings, train_supernet
from nat_deploy.training.step import StepSettings

RESOLUTIONS = (32,)


class SmallestOnly:
    """A distribution of one architecture."""

    def __init__(self, space: OfaMobileNetV3Space) -> None:
        self.genes = space.encode(space.smallest())

    def sample(self, rng: np.random.Generator, count: int) -> Genes:
        return np.tile(self.genes, (count, 1))


def make_supernet(num_classes: int = 10, seed: int = 0) -> MBConvSupernet:
    space = OfaMobileNetV3Space(0.35, RESOLUTIONS, num_classes)
    return MBConvSupernet(space, torch.Generator().manual_seed(seed)).to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def adapted(digits: DataSplits) -> SupernetEvaluator:
    quick = AdaptationSettings(epochs=5, learning_rate=4e-3)
    evaluator = SupernetEvaluator(make_supernet(), digits, EvaluatorSettings(first=quick, further=quick))
    evaluator.adapt(SmallestOnly(evaluator.supernet.space), np.random.default_rng(0))
    return evaluator


def test_adaptation_teaches_largest_and_sampled_subnets(adapted: SupernetEvaluator) -> None:
    space = adapted.supernet.space
    untrained = SupernetEvaluator(make_supernet(), adapted.data, adapted.settings)
    pair = [space.largest(), space.smallest()]
    assert min(untrained.evaluate(pair)) > 70, "an untrained network guesses"
    assert max(adapted.evaluate(pair)) < 40
    assert adapted.version == 1


def test_answers_do_not_depend_on_the_company(adapted: SupernetEvaluator) -> None:
    space = adapted.supernet.space
    smallest, largest = adapted.evaluate([space.smallest(), space.largest()])
    assert list(adapted.evaluate([space.largest(), space.smallest()])) == [largest, smallest]
    assert list(adapted.evaluate([space.smallest()])) == [smallest]


def test_the_extracted_network_scores_what_the_search_saw(adapted: SupernetEvaluator) -> None:
    architecture = adapted.supernet.space.largest()
    network = adapted.subnet(architecture)

    val = measure_accuracy(network, batches(adapted.data.val, batch_size=256, resolution=32))
    assert [val.error_percent] == list(adapted.evaluate([architecture]))
    test = adapted.test_accuracy(architecture)
    assert test is not None
    assert test.top1_percent > 60


def test_a_checkpoint_brings_back_weights_and_version(adapted: SupernetEvaluator, tmp_path: Path) -> None:
    adapted.save(tmp_path / "checkpoint.safetensors")
    fresh = SupernetEvaluator(make_supernet(), adapted.data, adapted.settings)
    fresh.load(tmp_path / "checkpoint.safetensors")
    largest = [adapted.supernet.space.largest()]
    assert fresh.version == 1
    assert list(fresh.evaluate(largest)) == list(adapted.evaluate(largest))
    other = SupernetEvaluator(make_supernet(num_classes=3), adapted.data, adapted.settings)
    with pytest.raises(FileFormatError, match=r"classifier\.linear\.weight"):
        other.load(tmp_path / "checkpoint.safetensors")


def a_few(digits: DataSplits, every: int) -> DataSplits:
    return type(digits)(
        name=digits.name,
        train=digits.train.subset(torch.arange(0, len(digits.train), every)),
        val=digits.val.subset(torch.arange(0, len(digits.val), every)),
        test=None,
        class_names=digits.class_names,
        augmentation=digits.augmentation,
    )


def run_training(
    digits: DataSplits,
    folder: Path,
    phases: tuple[Phase, ...],
    settings: TrainingSettings,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    every: int = 8,
) -> dict[str, torch.Tensor]:
    """Weights after training on every eighth image."""
    supernet = make_supernet()
    train_supernet(supernet, a_few(digits, every), phases, settings, folder, on_epoch)
    return supernet.state_dict()


SANDWICH = sandwich_schedule(resolutions=(32,), largest_epochs=1, sandwich_epochs=2, learning_rate=4e-3, num_random=1)
SHRINKING = progressive_shrinking(resolutions=(32,), epochs=(1, 2, 0, 0, 1, 0), learning_rate=4e-3)
PLAIN = TrainingSettings(batch_size=32)
AVERAGED = TrainingSettings(batch_size=32, num_parts=2, average_decay=0.9)
HALF = TrainingSettings(batch_size=16, step=StepSettings(autocast="float16"))


@pytest.mark.parametrize(
    ("phases", "settings", "epochs", "every"), [(SANDWICH, PLAIN, 3, 8), (SHRINKING, AVERAGED, 4, 20), (SANDWICH, HALF, 3, 60)]
)
def test_training_that_was_stopped_goes_on_with_the_same_result(
    digits: DataSplits, tmp_path: Path, phases: tuple[Phase, ...], settings: TrainingSettings, epochs: int, every: int
) -> None:
    undisturbed = run_training(digits, tmp_path / "undisturbed", phases, settings, every=every)

    def stop(record: EpochRecord) -> None:
        raise KeyboardInterrupt

    for _ in range(epochs):
        with pytest.raises(KeyboardInterrupt):
            run_training(digits, tmp_path / "stopped", phases, settings, stop, every)
    resumed = run_training(digits, tmp_path / "stopped", phases, settings, every=every)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in undisturbed.items())
    assert len((tmp_path / "stopped" / "log.jsonl").read_text().splitlines()) == epochs


def test_a_phase_ends_with_the_average(digits: DataSplits, tmp_path: Path) -> None:
    phases = SANDWICH[:1]
    last = run_training(digits, tmp_path / "last", phases, PLAIN)
    average = run_training(digits, tmp_path / "average", phases, replace(PLAIN, average_decay=0.9))
    start = make_supernet().state_dict()["classifier.linear.weight"]
    moved, moved_on_average = ((found["classifier.linear.weight"] - start).norm() for found in (last, average))
    assert 0 < moved_on_average < 0.95 * moved


def test_the_teacher_is_the_largest_before_the_first_phase_it_teaches(digits: DataSplits, tmp_path: Path) -> None:
    run_training(digits, tmp_path, SHRINKING[:1], PLAIN, every=20)
    assert not (tmp_path / "teacher.safetensors").exists()
    largest = load_weights(tmp_path / "checkpoint.safetensors")["weights/classifier.linear.weight"]
    run_training(digits, tmp_path, SHRINKING, PLAIN, every=20)
    taught_by = load_weights(tmp_path / "teacher.safetensors")
    last = max(int(name.partition(".")[0]) for name in taught_by)
    assert torch.equal(taught_by[f"{last}.linear.weight"], largest)


@pytest.mark.parametrize("wrong", [{"num_parts": 3}, {"num_parts": 0}, {"average_decay": 1.0}, {"average_decay": -0.1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainingSettings(batch_size=32, **wrong)  # type: ignore[arg-type]


def test_phases_train_what_they_say() -> None:
    space = OfaMobileNetV3Space(0.5, (32, 48), 10)
    rng = np.random.default_rng(0)
    largest, kernel, depth_1, _, width_1, width_2 = progressive_shrinking(
        resolutions=(32, 48), epochs=(2, 2, 1, 2, 1, 2), learning_rate=0.08
    )
    assert largest.architectures(space, rng) == [space.largest()]
    drawn = [architecture for _ in range(30) for architecture in kernel.architectures(space, rng)]
    assert {k for a in drawn for k in a.kernel} == {3, 5, 7}
    assert {(d, e) for a in drawn for d in a.depth for e in a.expand} == {(4, 6)}
    assert {d for _ in range(30) for a in depth_1.architectures(space, rng) for d in a.depth} == {3, 4}
    assert {e for _ in range(30) for a in width_1.architectures(space, rng) for e in a.expand} == {4, 6}
    assert {e for _ in range(30) for a in width_2.architectures(space, rng) for e in a.expand} == {3, 4, 6}
    assert (width_1.sorted_widths, width_2.sorted_widths) == ((6,), (4, 6))
    sandwich = sandwich_schedule(resolutions=(32, 48), largest_epochs=1, sandwich_epochs=1, learning_rate=0.1, num_random=2)[1]
    first, *randoms, last = sandwich.architectures(space, rng)
    assert first == space.largest()
    assert len(randoms) == 2
    assert set(last.kernel) | set(last.expand) == {3}
