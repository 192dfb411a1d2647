"""The optimiser of supernets, and the learning rate over a run."""

import math
from typing import Literal

import torch
from torch import nn

OptimiserName = Literal["sgd", "adamw"]


def make_optimiser(
    name: OptimiserName, network: nn.Module, *, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum 0.9, as the published recipes use it, or AdamW, which learns faster where epochs are few.

    Batch norms and biases do not decay.
    """
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    match name:
        case "sgd":
            return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=learning_rate)


def cosine_with_warmup(step: int, num_steps: int, warmup_steps: int = 0) -> float:
    """Share of the base learning rate at `step`: rises linearly over the warm-up, then falls to zero along half a cosine."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
