"""The moving average of a network over its training steps, which is often better than the network of the last step.

Source: Polyak & Juditsky (1992), with the warm-up of TensorFlow's ExponentialMovingAverage.
"""

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move every tensor of `average`, batch-norm statistics too, towards that of `network`: `decay` of the old one stays."""
    for mine, other in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        mine.lerp_(other, 1 - decay)


def warmed_up(decay: float, step: int) -> float:
    """The decay of step 0, 1, …: smaller in the first steps, so that the beginning is soon forgotten."""
    return min(decay, (1 + step) / (10 + step))
