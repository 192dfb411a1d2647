"""One step of supernet training: the gradients of a few subnets on one batch, added up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nat_deploy.spaces import Architecture
from nat_deploy.supernets import OfaMobileNetV3Supernet
from nat_deploy.training.losses import distilled_cross_entropy

Autocast = Literal["off", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """How a step learns.

    label_smoothing   of the true labels
    distilled_share   share of the loss of all subnets but the first that comes from the first one's logits on the same batch; the rest comes from the labels
    clip_norm         largest norm of the summed gradient
    autocast          precision of the matrix products; bfloat16 pays on GPUs, and on CPUs with AMX only
    """

    label_smoothing: float = 0.1
    distilled_share: float = 0.5
    clip_norm: float = 5.0
    autocast: Autocast = "off"


def train_step(
    supernet: OfaMobileNetV3Supernet,
    images: Tensor,
    labels: Tensor,
    architectures: Sequence[Architecture],
    optimiser: torch.optim.Optimizer,
    settings: StepSettings,
) -> float:
    """Learn one batch with every architecture; the first teaches the others (in-place distillation).

    Weights that no architecture uses get no gradient, hence no update, no decay and no momentum.

    Args:
        images: (N, 3, R, R), normalised.
        labels: (N,) class indices or (N, K) probabilities.
        architectures: The largest first, if the others shall learn from it.

    Returns:
        The first architecture's loss.

    Source: the sandwich rule and in-place distillation of universally slimmable networks (Yu & Huang, ICCV 2019).
    """
    optimiser.zero_grad(set_to_none=True)
    teacher_logits: Tensor | None = None
    first_loss = 0.0
    for architecture in architectures:
        with torch.autocast(images.device.type, _dtype(settings.autocast), enabled=settings.autocast != "off"):
            logits = supernet(images, architecture).float()
        loss = distilled_cross_entropy(
            logits,
            labels,
            teacher_logits,
            distilled_share=settings.distilled_share,
            label_smoothing=settings.label_smoothing,
        )
        if teacher_logits is None:
            teacher_logits, first_loss = logits.detach(), loss.item()
        loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(supernet.parameters(), settings.clip_norm)
    optimiser.step()
    return first_loss


def _dtype(autocast: Autocast) -> torch.dtype:
    return torch.float16 if autocast == "float16" else torch.bfloat16
