"""Training a supernet from scratch, phase by phase, with a checkpoint after every epoch."""

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nat_deploy.data import Batch, DataSplits, training_batch
from nat_deploy.files import append_line
from nat_deploy.supernets import Subnet, Supernet, load_subnet_weights, load_weights, save_weights
from nat_deploy.supernets.subnet import tensors_under
from nat_deploy.training.averaging import update_average, warmed_up
from nat_deploy.training.evaluate import calibrated_subnet, evaluate
from nat_deploy.training.optimiser import (
    OptimiserName,
    cosine_with_warmup,
    make_optimiser,
    optimiser_tensors,
    restore_optimiser,
    set_learning_rate,
)
from nat_deploy.training.phases import Phase
from nat_deploy.training.process_group import ALONE, Processes
from nat_deploy.training.step import StepSettings, make_scaler, train_step

CHECKPOINT = "checkpoint.safetensors"
TEACHER = "teacher.safetensors"
LOG = "log.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Everything but the phases.

    num_parts      a batch is learnt in so many parts, one after the other or by several processes: each part is normalised by its own statistics, and
                   their gradients are averaged, so as many parts in one process and in several give the same weights
    average_decay  of the moving average over the weights, which is what is judged, and what a phase ends with; 0: no average
    """

    batch_size: int = 128
    num_parts: int = 1
    optimiser: OptimiserName = "adamw"
    weight_decay: float = 0.02
    average_decay: float = 0.0
    seed: int = 0
    step: StepSettings = StepSettings()

    def __post_init__(self) -> None:
        if self.num_parts < 1 or self.batch_size % self.num_parts:
            raise ValueError(f"num_parts must divide batch_size {self.batch_size}, but is {self.num_parts}")
        if not 0 <= self.average_decay < 1:
            raise ValueError(f"average_decay must be at least 0 and less than 1, but is {self.average_decay}")


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
    supernet: Supernet,
    data: DataSplits,
    phases: tuple[Phase, ...],
    settings: TrainingSettings,
    folder: Path,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    processes: Processes = ALONE,
) -> None:
    """Train `supernet` in place, on the device it is on.

    After every epoch `folder` holds a checkpoint; called again with the same arguments it goes on from there, with the same result as without the
    interruption (same machine, same number of threads).

    Args:
        processes: Those that train together. All call this with the same arguments, on a file system that they share; the first one writes and reports.
            The batch-norm statistics in its files are those of its parts; `evaluate` measures its own.

    Raises:
        InputError: The parts of a batch cannot be shared out evenly among the processes.
        FileFormatError: A checkpoint in `folder` is broken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    training = _Training(supernet, data, settings, processes)
    done_phases, done_epochs, state = training.resume(folder / CHECKPOINT)
    for number, phase in enumerate(phases):
        if number < done_phases:
            continue
        start = done_epochs if number == done_phases else 0
        if phase.sorted_widths and start == 0:
            supernet.sort_channels(phase.sorted_widths)
        training.begin(phase, teacher=_teacher(training, folder / TEACHER) if phase.rule == "random" else None)
        if start:
            training.restore(state)
        for epoch in range(start, phase.epochs):
            began = time.perf_counter()
            loss = training.run_epoch(phase, epoch, seed=(settings.seed, number, epoch))
            ended = epoch + 1 == phase.epochs
            if ended:
                training.end()
            if processes.rank == 0:
                save_weights(folder / CHECKPOINT, training.tensors((number + 1, 0) if ended else (number, epoch + 1)))
                record = _record(training.judged, data, phase, epoch, loss, time.perf_counter() - began)
                append_line(folder / LOG, json.dumps(asdict(record)))
                on_epoch(record)


def _teacher(training: "_Training", path: Path) -> Subnet:
    """The largest network as it is before the first phase that it teaches, kept in a file for the phases and the resumptions to come."""
    supernet = training.supernet
    largest = supernet.space.largest()
    if path.exists():
        teacher = load_subnet_weights(supernet.space.blocks(largest), path)
    else:
        teacher = calibrated_subnet(supernet, largest, training.data.train)
        if training.processes.rank == 0:
            save_weights(path, teacher.state_dict())
    return teacher.to(next(supernet.parameters()).device).to(memory_format=torch.channels_last).requires_grad_(False)


class _Training:
    """A supernet while it learns, with everything that a checkpoint holds."""

    def __init__(self, supernet: Supernet, data: DataSplits, settings: TrainingSettings, processes: Processes) -> None:
        self.supernet = supernet
        self.data = data
        self.processes = processes
        self._settings = settings
        self._average = copy.deepcopy(supernet).eval() if settings.average_decay else None
        self._teacher: Subnet | None = None

    @property
    def judged(self) -> Supernet:
        """The moving average, or the supernet where there is none."""
        return self._average or self.supernet

    def begin(self, phase: Phase, teacher: Subnet | None) -> None:
        """A phase starts with an optimiser that remembers nothing."""
        settings = self._settings
        self._teacher = teacher
        self._optimiser = make_optimiser(
            settings.optimiser, self.supernet, learning_rate=phase.learning_rate, weight_decay=settings.weight_decay
        )
        self._scaler = make_scaler(settings.step, next(self.supernet.parameters()).device)
        if self._average is not None:
            self._average.load_state_dict(self.supernet.state_dict())

    def end(self) -> None:
        """What the phase taught is the average."""
        self.supernet.load_state_dict(self.judged.state_dict())

    def run_epoch(self, phase: Phase, epoch: int, seed: tuple[int, int, int]) -> float:
        """One pass over the training images; returns the mean loss of the first architecture of each step."""
        settings = self._settings
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        steps_per_epoch = max(1, len(self.data.train) // settings.batch_size)
        num_steps, warmup_steps = phase.epochs * steps_per_epoch, math.ceil(phase.warmup_epochs * steps_per_epoch)
        losses = []
        self.supernet.train()
        order = torch.randperm(len(self.data.train), generator=generator)
        for index, indices in enumerate(torch.split(order, settings.batch_size)[:steps_per_epoch]):
            step = epoch * steps_per_epoch + index
            set_learning_rate(self._optimiser, phase.learning_rate * cosine_with_warmup(step, num_steps, warmup_steps))
            parts = self._parts(indices, resolution=int(rng.choice(phase.resolutions)), rng=rng)
            loss = train_step(
                self.supernet,
                parts,
                phase.architectures(self.supernet.space, rng),
                self._optimiser,
                settings.step,
                scaler=self._scaler,
                teacher=self._teacher,
                processes=self.processes,
            )
            losses.append(loss)
            if self._average is not None:
                update_average(self._average, self.supernet, warmed_up(settings.average_decay, step))
        return float(np.mean(losses))

    def _parts(self, indices: Tensor, *, resolution: int, rng: np.random.Generator) -> list[Batch]:
        """This process's parts of a batch; each part is augmented by random numbers of its own, which all processes know."""
        pieces = indices.tensor_split(self._settings.num_parts)
        seeds = rng.integers(2**62, size=len(pieces)).tolist()
        return [
            training_batch(
                self.data.train.subset(piece.to(self.data.train.images.device)),
                resolution=resolution,
                generator=torch.Generator().manual_seed(seed),
                augmentation=self.data.augmentation,
                num_classes=self.data.num_classes,
                device=next(self.supernet.parameters()).device,
            )
            for piece, seed in self.processes.mine(list(zip(pieces, seeds, strict=True)))
        ]

    def tensors(self, finished: tuple[int, int]) -> dict[str, Tensor]:
        """Everything that `resume` and `restore` need; `finished` is the place in the schedule: phases, and epochs of the next one."""
        average = {} if self._average is None else self._average.state_dict()
        scaler = self._scaler.state_dict()
        return {
            **{f"weights/{name}": tensor for name, tensor in self.supernet.state_dict().items()},
            **{f"average/{name}": tensor for name, tensor in average.items()},
            **{f"optimiser/{name}": tensor for name, tensor in optimiser_tensors(self._optimiser, self.supernet).items()},
            **({"scaler": torch.tensor([scaler["scale"], scaler["_growth_tracker"]], dtype=torch.float64)} if scaler else {}),
            "finished": torch.tensor(finished),
        }

    def resume(self, checkpoint: Path) -> tuple[int, int, dict[str, Tensor]]:
        """Load the weights of a checkpoint, if there is one; returns the place in the schedule, and what `restore` needs."""
        if not checkpoint.exists():
            return 0, 0, {}
        tensors = load_weights(checkpoint)
        phases, epochs = (int(value) for value in tensors["finished"])
        self.supernet.load_state_dict(tensors_under(tensors, "weights/"))
        return phases, epochs, tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on inside a phase that `begin` has begun."""
        restore_optimiser(self._optimiser, self.supernet, tensors_under(tensors, "optimiser/"))
        if self._average is not None:
            self._average.load_state_dict(tensors_under(tensors, "average/"))
        if "scaler" in tensors:
            scale, growth = tensors["scaler"].tolist()
            self._scaler.load_state_dict({**self._scaler.state_dict(), "scale": scale, "_growth_tracker": int(growth)})


def _record(supernet: Supernet, data: DataSplits, phase: Phase, epoch: int, loss: float, seconds: float) -> EpochRecord:
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
