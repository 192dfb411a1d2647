"""One step of supernet training: the gradients of a few subnets on one batch, added up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from nat_deploy.data import Batch
from nat_deploy.spaces import Architecture
from nat_deploy.supernets import Supernet
from nat_deploy.training.losses import distilled_cross_entropy
from nat_deploy.training.process_group import ALONE, Processes

Autocast = Literal["off", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """How a step learns.

    label_smoothing   of the true labels
    distilled_share   share of the loss of all taught subnets that comes from the teacher's logits on the same batch; the rest comes from the labels
    clip_norm         largest norm of the summed gradient
    autocast          precision of the matrix products; bfloat16 pays on GPUs, and on CPUs with AMX only; float16 scales the loss
    update_unsampled  whether momentum and weight decay also move weights that no subnet of the step used
    """

    label_smoothing: float = 0.1
    distilled_share: float = 0.5
    clip_norm: float = 5.0
    autocast: Autocast = "off"
    update_unsampled: bool = False


def make_scaler(settings: StepSettings, device: torch.device) -> torch.amp.GradScaler:
    """What keeps float16 gradients from vanishing; does nothing at other precisions. One for all steps of a training."""
    return torch.amp.GradScaler(device.type, enabled=settings.autocast == "float16")


def train_step(
    supernet: Supernet,
    parts: Sequence[Batch],
    architectures: Sequence[Architecture],
    optimiser: torch.optim.Optimizer,
    settings: StepSettings,
    *,
    scaler: torch.amp.GradScaler | None = None,
    teacher: nn.Module | None = None,
    processes: Processes = ALONE,
) -> float:
    """Learn one batch with every architecture.

    Args:
        parts: The batch, in parts of equal size, each normalised by its own statistics: more parts need less memory. Images (N, 3, R, R), normalised;
            labels (N,) class indices or (N, K) probabilities.
        architectures: Without a teacher the first one teaches the others (in-place distillation): give the largest first.
        scaler: From `make_scaler`; needed for float16.
        teacher: A network in evaluation mode, which then teaches all architectures.
        processes: Who else learns other parts of this batch, with the same architectures.

    Returns:
        The first architecture's loss, mean over the parts given here.

    Source: the sandwich rule and in-place distillation of universally slimmable networks (Yu & Huang, ICCV 2019); a fixed teacher, Once-for-all.
    """
    scaler = scaler or make_scaler(settings, parts[0][0].device)
    optimiser.zero_grad(set_to_none=True)
    share = 1 / (len(parts) * processes.count)
    first_loss = 0.0
    for images, labels in parts:
        teacher_logits = None
        if teacher is not None:
            with torch.no_grad():
                teacher_logits = _logits(settings, images, teacher)
        for number, architecture in enumerate(architectures):
            logits = _logits(settings, images, supernet, architecture)
            loss = distilled_cross_entropy(
                logits,
                labels,
                teacher_logits,
                distilled_share=settings.distilled_share,
                label_smoothing=settings.label_smoothing,
            )
            if number == 0:
                first_loss += loss.item() / len(parts)
                teacher_logits = logits.detach() if teacher_logits is None else teacher_logits
            scaler.scale(share * loss).backward()  # type: ignore[no-untyped-call]
    processes.add_up([parameter.grad for parameter in supernet.parameters() if parameter.grad is not None])
    scaler.unscale_(optimiser)
    torch.nn.utils.clip_grad_norm_(supernet.parameters(), settings.clip_norm)
    _update(supernet, optimiser, scaler, update_unsampled=settings.update_unsampled, sampled=architectures)
    return first_loss


def _logits(settings: StepSettings, images: Tensor, network: nn.Module, *architecture: Architecture) -> Tensor:
    dtype = torch.float16 if settings.autocast == "float16" else torch.bfloat16
    with torch.autocast(images.device.type, dtype, enabled=settings.autocast != "off"):
        logits: Tensor = network(images, *architecture)
    return logits.float()


@torch.no_grad()
def _update(
    supernet: Supernet,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    *,
    update_unsampled: bool,
    sampled: Sequence[Architecture],
) -> None:
    """Step; a weight without a gradient is one that no subnet used, or that has nothing to learn from this batch."""
    unmoved: list[tuple[nn.Parameter, Tensor, Tensor]] = []
    if update_unsampled:
        for parameter in supernet.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
    elif supernet.space.largest() not in sampled:  # the largest uses the whole of every tensor that it uses
        unmoved = [(p, p.grad == 0, p.detach().clone()) for p in supernet.parameters() if p.grad is not None]
    scaler.step(optimiser)
    scaler.update()
    for parameter, without_gradient, before in unmoved:
        parameter.copy_(torch.where(without_gradient, before, parameter))
