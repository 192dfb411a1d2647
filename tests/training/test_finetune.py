"""Fine-tuning on real images: it must help, say so when it does not, and survive being stopped."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nat_deploy.data import DataSplits, ImageSet, batches
from nat_deploy.errors import FileFormatError
from nat_deploy.spaces import OfaMobileNetV3Space
from nat_deploy.supernets import MBConvSupernet, Subnet
from nat_deploy.training import finetune
from nat_deploy.training.evaluate import calibrated_subnet, measure_accuracy, measure_score, recalibrated
from nat_deploy.training.finetune import (
    FinetuneEpoch,
    FinetuneResult,
    FinetuneSettings,
    Lesson,
    finetune_subnet,
    update_average,
)

SPACE = OfaMobileNetV3Space(0.35, (32,), 10)
QUICK = FinetuneSettings(epochs=2, patience=2, batch_size=32, learning_rate=8e-3, warmup_epochs=0.5, average_decay=0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A fine-tuning that nothing disturbed, and what it told."""

    result: FinetuneResult
    epochs: tuple[FinetuneEpoch, ...]


def every(images: ImageSet, step: int) -> ImageSet:
    return images.subset(torch.arange(0, len(images), step))


@pytest.fixture(scope="module")
def parts(digits: DataSplits) -> tuple[ImageSet, ImageSet]:
    """Training and validation images."""
    return every(digits.train, 2), digits.val


@pytest.fixture(scope="module")
def lesson(digits: DataSplits, parts: tuple[ImageSet, ImageSet]) -> Lesson:
    supernet = MBConvSupernet(SPACE, torch.Generator().manual_seed(0))
    start = calibrated_subnet(supernet, SPACE.smallest(), parts[0])
    return Lesson(start=start, teacher=None, resolution=32, augmentation=digits.augmentation, settings=QUICK)


@pytest.fixture(scope="module")
def run(lesson: Lesson, parts: tuple[ImageSet, ImageSet], tmp_path_factory: pytest.TempPathFactory) -> Run:
    epochs: list[FinetuneEpoch] = []
    result = finetune_subnet(lesson, *parts, tmp_path_factory.mktemp("undisturbed"), epochs.append)
    return Run(result=result, epochs=tuple(epochs))


def same(one: Subnet, other: Subnet) -> bool:
    tensors = other.state_dict()
    return all(torch.equal(tensor, tensors[name]) for name, tensor in one.state_dict().items())


def test_a_subnet_learns_and_the_start_stays_as_it_was(run: Run, lesson: Lesson, parts: tuple[ImageSet, ImageSet]) -> None:
    result = run.result
    assert result.after is not None
    assert result.is_better
    assert result.after.accuracy.top1_percent > result.before.accuracy.top1_percent + 30
    assert not result.network.training
    untouched = measure_score(lesson.start, batches(parts[1], batch_size=256, resolution=32))
    assert untouched == result.before


def test_the_second_stage_trains_as_long_as_the_first_was_best_for(run: Run) -> None:
    assert [epoch.stage for epoch in run.epochs] == ["choose"] * 2 + ["final"] * run.result.num_epochs
    assert all(math.isfinite(epoch.loss) for epoch in run.epochs)
    assert [epoch.validation is None for epoch in run.epochs] == [epoch.stage == "final" for epoch in run.epochs]
    losses = [epoch.validation.loss for epoch in run.epochs if epoch.validation is not None]
    assert run.result.num_epochs == losses.index(min(losses)) + 1


def test_the_second_stage_learns_from_validation_images_too(lesson: Lesson, digits: DataSplits, tmp_path: Path) -> None:
    """Classes 5 to 9 are in the validation part alone, two thirds of it: the chosen network cannot know them, the final one does."""
    train = digits.train.subset(torch.nonzero(digits.train.labels < 5)[::2, 0])
    val = digits.train.subset(torch.nonzero((digits.train.labels >= 5) | (torch.arange(len(digits.train)) % 2 == 1))[::2, 0])
    result = finetune_subnet(lesson, train, val, tmp_path)
    assert result.after is not None
    assert result.is_final
    final = measure_accuracy(result.network, batches(val, batch_size=256, resolution=32))
    assert final.top1_percent > result.after.accuracy.top1_percent + 30


def test_training_that_was_stopped_goes_on_with_the_same_result(
    run: Run, lesson: Lesson, parts: tuple[ImageSet, ImageSet], tmp_path: Path
) -> None:
    def stop(epoch: FinetuneEpoch) -> None:
        raise KeyboardInterrupt

    for _ in run.epochs:
        with pytest.raises(KeyboardInterrupt):
            finetune_subnet(lesson, *parts, tmp_path, stop)
    resumed = finetune_subnet(lesson, *parts, tmp_path)
    assert same(resumed.network, run.result.network)
    assert replace(resumed, network=run.result.network) == run.result


def test_a_broken_checkpoint_is_named(lesson: Lesson, parts: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    (tmp_path / "choose.safetensors").write_bytes(b"half a file")
    with pytest.raises(FileFormatError, match=r"choose\.safetensors"):
        finetune_subnet(lesson, *parts, tmp_path)


@pytest.mark.parametrize("learning_rate", [0.0, 1e30], ids=["nothing learnt", "nothing finite"])
def test_weights_are_kept_where_training_does_not_help(
    learning_rate: float, run: Run, lesson: Lesson, parts: tuple[ImageSet, ImageSet], tmp_path: Path
) -> None:
    frozen = replace(QUICK, learning_rate=learning_rate, epochs=1, average_decay=0.0)
    start = run.result.network  # it has learnt from the validation images too
    result = finetune_subnet(replace(lesson, start=start, settings=frozen), every(parts[0], 8), parts[1], tmp_path)
    assert not result.is_better
    assert not result.is_final
    assert result.network is start


@pytest.mark.parametrize("spoilt", ["kept", "anew"])
def test_the_statistics_that_fit_validation_images_are_returned(
    spoilt: str,
    run: Run,
    lesson: Lesson,
    parts: tuple[ImageSet, ImageSet],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spoil(network: nn.Module) -> None:
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.mul_(100)

    def update_and_spoil(average: nn.Module, network: nn.Module, decay: float) -> None:
        update_average(average, network, decay)
        spoil(average)

    def measure_and_spoil(*arguments: Any, **settings: Any) -> Subnet:
        network = recalibrated(*arguments, **settings)
        spoil(network)
        return network

    if spoilt == "kept":
        monkeypatch.setattr(finetune, "update_average", update_and_spoil)
    else:
        monkeypatch.setattr(finetune, "recalibrated", measure_and_spoil)
    result = finetune_subnet(lesson, *parts, tmp_path)
    assert result.is_recalibrated == (spoilt == "kept")
    assert result.after is not None
    assert result.after.accuracy.top1_percent > result.before.accuracy.top1_percent + 30
    measured = measure_accuracy(result.network, batches(parts[1], batch_size=256, resolution=32))
    assert measured.num_right >= result.after.accuracy.num_right


def test_the_teacher_is_listened_to(run: Run, lesson: Lesson, parts: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    """Distillation alone, from wrong labels: what is right can come from the teacher only."""
    train, val = parts
    wrong = ImageSet(images=train.images, labels=(train.labels + 1) % 10, normalisation=train.normalisation)
    only = replace(QUICK, step=replace(QUICK.step, distilled_share=1.0))
    taught = finetune_subnet(replace(lesson, teacher=run.result.network, settings=only), wrong, val, tmp_path)
    assert taught.after is not None
    assert taught.after.accuracy.top1_percent > taught.before.accuracy.top1_percent + 20


def test_the_average_moves_by_its_share() -> None:
    average, network = Subnet(SPACE.blocks(SPACE.smallest())), Subnet(SPACE.blocks(SPACE.smallest()))
    before = {name: tensor.clone() for name, tensor in average.state_dict().items()}
    update_average(average, network, 0.75)
    for name, tensor in average.state_dict().items():
        torch.testing.assert_close(tensor, 0.75 * before[name] + 0.25 * network.state_dict()[name])


@pytest.mark.parametrize("broken", [{"epochs": 0}, {"patience": 0}, {"batch_size": 0}])
def test_settings_are_checked(broken: dict[str, int]) -> None:
    make: Callable[..., FinetuneSettings] = FinetuneSettings
    with pytest.raises(ValueError, match="at least 1"):
        make(**broken)
