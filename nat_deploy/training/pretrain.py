"""Training a supernet from scratch, phase by phase, with a checkpoint after every epoch."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nat_deploy.data import DataSplits, training_batch
from nat_deploy.files import append_line
from nat_deploy.supernets import OfaMobileNetV3Supernet, sort_channels
from nat_deploy.supernets.subnet import load_weights, save_weights, tensors_under
from nat_deploy.training.evaluate import evaluate
from nat_deploy.training.optimiser import (
    OptimiserName,
    cosine_with_warmup,
    make_optimiser,
    optimiser_tensors,
    restore_optimiser,
    set_learning_rate,
)
from nat_deploy.training.phases import Phase
from nat_deploy.training.step import StepSettings, train_step

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Everything but the phases."""

    batch_size: int = 128
    optimiser: OptimiserName = "adamw"
    weight_decay: float = 0.02
    seed: int = 0
    step: StepSettings = StepSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One line of the log; accuracies are those of the validation images at the phase's largest resolution."""

    phase: str
    epoch: int
    epochs: int
    loss: float
    largest_top1_percent: float
    smallest_top1_percent: float | None
    seconds: float


def train_supernet(
    supernet: OfaMobileNetV3Supernet,
    data: DataSplits,
    phases: tuple[Phase, ...],
    settings: TrainingSettings,
    folder: Path,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
) -> None:
    """Train `supernet` in place, on the device it is on.

    After every epoch `folder` holds a checkpoint; called again with the same arguments it goes on from there, with the same result as without the
    interruption (same machine, same number of threads).
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / CHECKPOINT
    done_phases, done_epochs, state = _resume(supernet, checkpoint) if checkpoint.exists() else (0, 0, {})
    for number, phase in enumerate(phases):
        if number < done_phases:
            continue
        start = done_epochs if number == done_phases else 0
        if phase.sorted_widths and start == 0:
            sort_channels(supernet, phase.sorted_widths)
        optimiser = make_optimiser(
            settings.optimiser, supernet, learning_rate=phase.learning_rate, weight_decay=settings.weight_decay
        )
        if start:
            restore_optimiser(optimiser, supernet, state)
        for epoch in range(start, phase.epochs):
            began = time.perf_counter()
            loss = _train_epoch(supernet, data, phase, epoch, optimiser, settings, seed=(settings.seed, number, epoch))
            finished = (number, epoch + 1) if epoch + 1 < phase.epochs else (number + 1, 0)
            _save_checkpoint(checkpoint, supernet, optimiser, finished)
            record = _record(supernet, data, phase, epoch, loss, time.perf_counter() - began)
            append_line(folder / LOG, json.dumps(asdict(record)))
            on_epoch(record)


def _train_epoch(
    supernet: OfaMobileNetV3Supernet,
    data: DataSplits,
    phase: Phase,
    epoch: int,
    optimiser: torch.optim.Optimizer,
    settings: TrainingSettings,
    seed: tuple[int, int, int],
) -> float:
    """One pass over the training images; returns the mean loss of the first architecture of each step."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    device = next(supernet.parameters()).device
    steps_per_epoch = max(1, len(data.train) // settings.batch_size)
    num_steps, warmup_steps = phase.epochs * steps_per_epoch, math.ceil(phase.warmup_epochs * steps_per_epoch)
    losses = []
    supernet.train()
    order = torch.randperm(len(data.train), generator=generator)
    for index, indices in enumerate(torch.split(order, settings.batch_size)[:steps_per_epoch]):
        images, labels = training_batch(
            data.train.subset(indices.to(data.train.images.device)),
            resolution=int(rng.choice(phase.resolutions)),
            generator=generator,
            augmentation=data.augmentation,
            device=device,
        )
        share = cosine_with_warmup(epoch * steps_per_epoch + index, num_steps, warmup_steps)
        set_learning_rate(optimiser, phase.learning_rate * share)
        losses.append(train_step(supernet, images, labels, phase.architectures(supernet.space, rng), optimiser, settings.step))
    return float(np.mean(losses))


def _record(
    supernet: OfaMobileNetV3Supernet, data: DataSplits, phase: Phase, epoch: int, loss: float, seconds: float
) -> EpochRecord:
    sized = supernet.with_resolutions((max(phase.resolutions),)).to(next(supernet.parameters()).device)
    space = sized.space
    largest, smallest = (
        accuracy.top1_percent
        for accuracy in evaluate(sized, [space.largest(), space.smallest()], training_images=data.train, images=data.val)
    )
    return EpochRecord(
        phase=phase.name,
        epoch=epoch + 1,
        epochs=phase.epochs,
        loss=round(loss, 4),
        largest_top1_percent=round(largest, 2),
        smallest_top1_percent=round(smallest, 2) if phase.rule != "largest" else None,
        seconds=round(seconds, 1),
    )


def _save_checkpoint(
    path: Path, supernet: OfaMobileNetV3Supernet, optimiser: torch.optim.Optimizer, finished: tuple[int, int]
) -> None:
    """Weights, the optimiser's state and the place in the schedule, in one file that is written atomically."""
    tensors = {
        **{f"weights/{name}": tensor for name, tensor in supernet.state_dict().items()},
        **{f"optimiser/{name}": tensor for name, tensor in optimiser_tensors(optimiser, supernet).items()},
        "finished": torch.tensor(finished),
    }
    save_weights(path, tensors)


def _resume(supernet: OfaMobileNetV3Supernet, path: Path) -> tuple[int, int, dict[str, Tensor]]:
    tensors = load_weights(path)
    phases, epochs = (int(value) for value in tensors.pop("finished"))
    supernet.load_state_dict(tensors_under(tensors, "weights/"))
    return phases, epochs, tensors_under(tensors, "optimiser/")
