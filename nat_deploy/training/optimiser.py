"""The optimiser of supernets, and the learning rate over a run."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

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


def optimiser_tensors(optimiser: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """What the optimiser remembers of each weight, named `{weight}/{entry}`."""
    return {
        f"{name}/{entry}": value
        for name, parameter in network.named_parameters()
        for entry, value in optimiser.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Bring back what `optimiser_tensors` gave."""
    parameters = dict(network.named_parameters())
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition("/")
        parameter = parameters[name]
        # AdamW counts its steps in a tensor that stays on the CPU
        optimiser.state[parameter][entry] = tensor if entry == "step" else tensor.to(parameter.device)
