"""Losses of supernet training, each a mean over the images of a batch."""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits_NK: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy of N images over K classes; `labels` are class indices (N,) or probabilities (N, K)."""
    return F.cross_entropy(logits_NK, labels, label_smoothing=label_smoothing)


def distilled_cross_entropy(
    logits_NK: Tensor, labels: Tensor, teacher_logits_NK: Tensor | None, *, distilled_share: float, label_smoothing: float
) -> Tensor:
    """What a student learns: a share of its loss comes from the teacher, the rest from the labels; all of it without a teacher."""
    loss = cross_entropy(logits_NK, labels, label_smoothing=label_smoothing)
    if teacher_logits_NK is None:
        return loss
    return distilled_share * distillation(logits_NK, teacher_logits_NK) + (1 - distilled_share) * loss


def distillation(logits_NK: Tensor, teacher_logits_NK: Tensor) -> Tensor:
    """Cross entropy against the teacher's probabilities.

    Source: Hinton et al. (arXiv 1503.02531) at temperature 1, as progressive shrinking uses it.
    """
    return F.cross_entropy(logits_NK, teacher_logits_NK.softmax(1))
