"""Training one subnet further than its supernet did.

Two stages: the first learns from the training images, and the validation images say after how many epochs it was best. The second begins anew and
learns from both for as many epochs. Test images are not even an argument.

While it trains, batch norms keep statistics of augmented images. Measured anew on images as they are, these often fit those to come better, but not always: the
validation images decide that too.

Sources: the stages, the post-processing of NATv2 (whose code, though, selects on test images); distillation, Once-for-all, section 3.3.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nat_deploy.data import Augmentation, ImageSet, batches, training_batch
from nat_deploy.supernets import Subnet, load_weights, save_weights
from nat_deploy.supernets.subnet import tensors_under
from nat_deploy.training.averaging import update_average, warmed_up
from nat_deploy.training.evaluate import Accuracy, CalibrationSettings, Score, measure_score, recalibrated
from nat_deploy.training.losses import distilled_cross_entropy
from nat_deploy.training.optimiser import (
    OptimiserName,
    cosine_with_warmup,
    make_optimiser,
    optimiser_tensors,
    restore_optimiser,
    set_learning_rate,
)
from nat_deploy.training.step import StepSettings

Stage = Literal["choose", "final"]

_CALIBRATION = CalibrationSettings(num_images=1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSettings:
    """How a subnet is fine-tuned.

    epochs          of the learning-rate schedule, warm-up and half a cosine; the most that a stage trains
    patience        the first stage ends after so many epochs without a smaller validation loss
    average_decay   of the moving average over weights and batch-norm statistics, which is what is judged and kept; smaller in the first steps
    """

    epochs: int = 30
    patience: int = 10
    warmup_epochs: float = 1.0
    batch_size: int = 64
    optimiser: OptimiserName = "adamw"
    learning_rate: float = 5e-4
    weight_decay: float = 0.02
    average_decay: float = 0.998
    seed: int = 0
    step: StepSettings = StepSettings()

    def __post_init__(self) -> None:
        if min(self.epochs, self.patience, self.batch_size) < 1:
            raise ValueError(f"epochs, patience and batch_size must be at least 1, but are {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneEpoch:
    """A finished epoch, 1 to at most `epochs`.

    loss        mean over its steps
    validation  of the moving average; None in the final stage, which learns from those images
    """

    stage: Stage
    epoch: int
    epochs: int
    loss: float
    validation: Score | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneResult:
    """What came of it.

    network         the fine-tuned subnet, or the one that it began with; in evaluation mode
    before, after   on validation images, of the beginning and of the first stage's best network, which has not learnt from them; `after` is None
                    where no epoch ended with finite weights
    is_recalibrated its batch-norm statistics are of images that were not augmented
    num_epochs      after which the first stage was best
    is_final        `network` has learnt from the validation images too
    """

    network: Subnet
    before: Score
    after: Score | None
    is_recalibrated: bool
    num_epochs: int
    is_final: bool

    @property
    def is_better(self) -> bool:
        return self.after is not None and self.after.accuracy.num_right > self.before.accuracy.num_right


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What both stages share.

    start       calibrated, so that its outputs mean something
    teacher     calibrated for images of this resolution; None: the labels alone teach
    resolution  height and width at which the network reads images, in pixels
    """

    start: Subnet
    teacher: Subnet | None
    resolution: int
    augmentation: Augmentation
    settings: FinetuneSettings


def finetune_subnet(
    lesson: Lesson, train: ImageSet, val: ImageSet, folder: Path, on_epoch: Callable[[FinetuneEpoch], None] = lambda epoch: None
) -> FinetuneResult:
    """Train a copy of `lesson.start`; it is returned instead where the training did not make it classify more validation images right.

    After every epoch `folder` holds a checkpoint; called again with the same arguments it goes on from there, with the same result as without the
    interruption (same machine, same number of threads).

    Raises:
        FileFormatError: A checkpoint in `folder` is broken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = _score(lesson.start, lesson, val)
    best = train_to_best(lesson, train, val, folder / "choose.safetensors", on_epoch)
    if best is None:
        return FinetuneResult(
            network=lesson.start, before=before, after=None, is_recalibrated=False, num_epochs=0, is_final=False
        )
    network, after = best.network(lesson.start), best.score
    anew = _recalibrated(network, lesson, train)
    score = _score(anew, lesson, val)
    is_recalibrated = score.accuracy.num_right > after.accuracy.num_right
    if is_recalibrated:
        network, after = anew, score
    found = FinetuneResult(
        network=network, before=before, after=after, is_recalibrated=is_recalibrated, num_epochs=best.epoch, is_final=False
    )
    if not found.is_better:
        return replace(found, network=lesson.start)
    final = _train_on_all(lesson, (train, val), best.epoch, folder / "final.safetensors", on_epoch)
    if is_recalibrated:
        final = _recalibrated(final, lesson, train)
    # The final network has learnt from these images: one that is worse on them than one that has not is broken.
    is_sound = _score(final, lesson, val).accuracy.num_right >= after.accuracy.num_right
    return replace(found, network=final, is_final=True) if is_sound else found


def _recalibrated(network: Subnet, lesson: Lesson, train: ImageSet) -> Subnet:
    return recalibrated(network, train, resolution=lesson.resolution, settings=_CALIBRATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class BestEpoch:
    """The epoch of the smallest validation loss, 1 or more, with its score and the moving average of the weights after it."""

    epoch: int
    score: Score
    weights: dict[str, Tensor]

    def network(self, like: Subnet) -> Subnet:
        network = copy.deepcopy(like).eval()
        network.load_state_dict(self.weights)
        return network

    def tensors(self) -> dict[str, Tensor]:
        accuracy = self.score.accuracy
        return {
            **{f"best/{name}": tensor for name, tensor in self.weights.items()},
            "best_epoch": torch.tensor([self.epoch, accuracy.num_right, accuracy.num_images]),
            "best_loss": torch.tensor(self.score.loss, dtype=torch.float64),
        }

    @staticmethod
    def of(tensors: dict[str, Tensor]) -> "BestEpoch | None":
        if "best_loss" not in tensors:
            return None
        epoch, num_right, num_images = (int(value) for value in tensors["best_epoch"])
        score = Score(accuracy=Accuracy(num_right=num_right, num_images=num_images), loss=float(tensors["best_loss"]))
        return BestEpoch(epoch=epoch, score=score, weights=tensors_under(tensors, "best/"))


def train_to_best(
    lesson: Lesson, train: ImageSet, val: ImageSet, checkpoint: Path, on_epoch: Callable[[FinetuneEpoch], None]
) -> BestEpoch | None:
    """The first stage alone; None where no epoch ended with a finite loss.

    `checkpoint` is written after every epoch. Called again with the same arguments, it goes on from there.
    """
    settings = lesson.settings
    training = _Training(lesson, (train,), "choose")
    best = BestEpoch.of(training.resume(checkpoint))
    while training.epoch < settings.epochs and training.epoch - (best.epoch if best else 0) < settings.patience:
        loss = training.run_epoch()
        score = _score(training.average, lesson, val)
        if math.isfinite(score.loss) and (best is None or score.loss < best.score.loss):
            weights = {name: tensor.clone() for name, tensor in training.average.state_dict().items()}
            best = BestEpoch(epoch=training.epoch, score=score, weights=weights)
        save_weights(checkpoint, {**training.tensors(), **(best.tensors() if best else {})})
        on_epoch(FinetuneEpoch(stage="choose", epoch=training.epoch, epochs=settings.epochs, loss=loss, validation=score))
    return best


def _train_on_all(
    lesson: Lesson, parts: Sequence[ImageSet], epochs: int, checkpoint: Path, on_epoch: Callable[[FinetuneEpoch], None]
) -> Subnet:
    """The second stage: so many epochs of the same schedule, on all parts."""
    training = _Training(lesson, parts, "final")
    training.resume(checkpoint)
    while training.epoch < epochs:
        loss = training.run_epoch()
        save_weights(checkpoint, training.tensors())
        on_epoch(FinetuneEpoch(stage="final", epoch=training.epoch, epochs=epochs, loss=loss, validation=None))
    return training.average


class _Training:
    """A network while it learns from `parts`, the moving average of it, and how many epochs are done."""

    def __init__(self, lesson: Lesson, parts: Sequence[ImageSet], stage: Stage) -> None:
        self._lesson = lesson
        self._parts = parts
        self._stage = stage
        self._network = copy.deepcopy(lesson.start).to(memory_format=torch.channels_last).train()
        self._optimiser = make_optimiser(
            lesson.settings.optimiser,
            self._network,
            learning_rate=lesson.settings.learning_rate,
            weight_decay=lesson.settings.weight_decay,
        )
        self.average = copy.deepcopy(lesson.start).eval()
        self.epoch = 0

    def run_epoch(self) -> float:
        """One pass over the images; returns the mean loss of its steps. Its randomness depends on seed, stage and epoch alone."""
        settings = self._lesson.settings
        rng = np.random.default_rng((settings.seed, ("choose", "final").index(self._stage), self.epoch))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        num_images = sum(len(part) for part in self._parts)
        steps_per_epoch = max(1, num_images // settings.batch_size)
        num_steps, warmup_steps = settings.epochs * steps_per_epoch, math.ceil(settings.warmup_epochs * steps_per_epoch)
        order = torch.randperm(num_images, generator=generator)
        losses = []
        for index, picked in enumerate(torch.split(order, settings.batch_size)[:steps_per_epoch]):
            images, labels = training_batch(
                _pick(self._parts, picked),
                resolution=self._lesson.resolution,
                generator=generator,
                augmentation=self._lesson.augmentation,
                num_classes=self._lesson.start.blocks[-1].out_channels,
                device=next(self._network.parameters()).device,
            )
            step = self.epoch * steps_per_epoch + index
            set_learning_rate(self._optimiser, settings.learning_rate * cosine_with_warmup(step, num_steps, warmup_steps))
            losses.append(self._step(images, labels))
            update_average(self.average, self._network, warmed_up(settings.average_decay, step))
        self.epoch += 1
        return float(np.mean(losses))

    def _step(self, images: Tensor, labels: Tensor) -> float:
        settings = self._lesson.settings.step
        teacher_logits = None
        if self._lesson.teacher is not None:
            with torch.no_grad():
                teacher_logits = self._lesson.teacher(images)
        loss = distilled_cross_entropy(
            self._network(images),
            labels,
            teacher_logits,
            distilled_share=settings.distilled_share,
            label_smoothing=settings.label_smoothing,
        )
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), settings.clip_norm)
        self._optimiser.step()
        return loss.item()

    def tensors(self) -> dict[str, Tensor]:
        """Everything that `resume` needs."""
        return {
            **{f"weights/{name}": tensor for name, tensor in self._network.state_dict().items()},
            **{f"average/{name}": tensor for name, tensor in self.average.state_dict().items()},
            **{f"optimiser/{name}": tensor for name, tensor in optimiser_tensors(self._optimiser, self._network).items()},
            "epoch": torch.tensor(self.epoch),
        }

    def resume(self, checkpoint: Path) -> dict[str, Tensor]:
        """Go on where the file was written, if there is one; returns all that it holds."""
        if not checkpoint.exists():
            return {}
        tensors = load_weights(checkpoint)
        self._network.load_state_dict(tensors_under(tensors, "weights/"))
        self.average.load_state_dict(tensors_under(tensors, "average/"))
        restore_optimiser(self._optimiser, self._network, tensors_under(tensors, "optimiser/"))
        self.epoch = int(tensors["epoch"])
        return tensors


def _score(network: Subnet, lesson: Lesson, images: ImageSet) -> Score:
    device = next(network.parameters()).device
    return measure_score(network, batches(images, batch_size=256, resolution=lesson.resolution, device=device))


def _pick(parts: Sequence[ImageSet], indices: Tensor) -> ImageSet:
    """Images of several parts, numbered through; only those are read, because whole parts may not fit into memory."""
    picked, first = [], 0
    for part in parts:
        inside = indices[(indices >= first) & (indices < first + len(part))] - first
        picked.append(part.subset(inside.to(part.images.device)))
        first += len(part)
    return ImageSet(
        images=torch.cat([part.images for part in picked]),
        labels=torch.cat([part.labels for part in picked]),
        normalisation=parts[0].normalisation,
    )
