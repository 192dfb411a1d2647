"""Adapting a supernet to a data set, on the architectures that a search cares about.

Source: Neural Architecture Transfer (Lu et al., arXiv 2005.05859), section on supernet adaptation. New here: the largest subnet teaches the sampled ones
in place, which small data sets need.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from nat_deploy.data import DataSplits, training_batch
from nat_deploy.spaces import Genes
from nat_deploy.supernets import Supernet
from nat_deploy.training.optimiser import OptimiserName, cosine_with_warmup, make_optimiser, set_learning_rate
from nat_deploy.training.step import StepSettings, make_scaler, train_step

OnStep = Callable[[int, int], None]


class GeneSampler(Protocol):
    """Anything that draws gene strings."""

    def sample(self, rng: np.random.Generator, count: int) -> Genes:
        """Canonical gene strings, shape `(count, num_genes)`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptationSettings:
    """One adaptation; its learning rate warms up over a tenth of the steps and falls to zero.

    num_sampled  subnets per step beside the largest, at least 1
    """

    epochs: float = 5.0
    batch_size: int = 64
    optimiser: OptimiserName = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    num_sampled: int = 1
    step: StepSettings = StepSettings()


def prepare_supernet(pretrained: Supernet, data: DataSplits, resolutions: Iterable[int], *, seed: int) -> Supernet:
    """A copy of a pretrained supernet for another data set: its image sizes, and a new classifier for its classes, drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    supernet = pretrained.with_resolutions(tuple(sorted(set(resolutions)))).with_classes(data.num_classes, generator)
    return supernet.to(memory_format=torch.channels_last)


def adapt_supernet(
    supernet: Supernet,
    data: DataSplits,
    distribution: GeneSampler,
    settings: AdaptationSettings,
    rng: np.random.Generator,
    on_step: OnStep = lambda done, total: None,
) -> None:
    """Train `supernet` in place; each batch has the resolution of the first architecture that is drawn for it.

    Args:
        distribution: Draws architectures of the supernet's space.
        rng: All randomness of the training comes from it.
        on_step: Called after each step with the number done and the number of all.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    device = next(supernet.parameters()).device
    steps_per_epoch = max(1, len(data.train) // settings.batch_size)
    num_steps = max(1, math.ceil(settings.epochs * steps_per_epoch))
    optimiser = make_optimiser(
        settings.optimiser, supernet, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
    )
    scaler = make_scaler(settings.step, device)
    largest = supernet.space.largest()
    supernet.train()
    for step in range(num_steps):
        if step % steps_per_epoch == 0:
            parts = torch.split(torch.randperm(len(data.train), generator=generator), settings.batch_size)
        sampled = [supernet.space.decode(genes) for genes in distribution.sample(rng, settings.num_sampled)]
        batch = training_batch(
            data.train.subset(parts[step % steps_per_epoch].to(data.train.images.device)),
            resolution=sampled[0].resolution,
            generator=generator,
            augmentation=data.augmentation,
            num_classes=data.num_classes,
            device=device,
        )
        set_learning_rate(optimiser, settings.learning_rate * cosine_with_warmup(step, num_steps, math.ceil(num_steps / 10)))
        train_step(supernet, [batch], [largest, *sampled], optimiser, settings.step, scaler=scaler)
        on_step(step + 1, num_steps)
