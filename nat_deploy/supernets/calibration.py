"""Batch-norm calibration: statistics of one subnet, measured instead of inherited.

A supernet's running statistics mix those of all subnets; with them a small subnet guesses. Source: Once-for-all, section 3.3; Yu & Huang, "Universally
Slimmable Networks" (ICCV 2019), section 3.
"""

import copy
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from nat_deploy.spaces.block import BATCH_NORM_EPS
from nat_deploy.supernets.layers import BatchNorm
from nat_deploy.supernets.subnet import Subnet


class _MeasuringBatchNorm(BatchNorm):
    """Normalises each batch by its own statistics, as in training, and adds them up weighted by the batch's size."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.num_images = 0

    def forward(self, x_NCHW: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x_NCHW, (0, 2, 3), correction=0)
        images = len(x_NCHW)
        share = images / (self.num_images + images)
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)
        self.num_images += images
        return F.batch_norm(x_NCHW, mean, variance, self.weight, self.bias, False, 0.0, BATCH_NORM_EPS)


@torch.no_grad()
def calibrate_batch_norm(subnet: Subnet, images: Iterable[Tensor]) -> Subnet:
    """A copy of `subnet` whose batch-norm statistics are those of `images`; `subnet` itself stays as it is.

    Args:
        subnet: Any plain network.
        images: Batches (N, 3, R, R), normalised, at the size the network is meant for. Each batch should hold 32 images or more: its own statistics
            normalise it on the way.

    Returns:
        The calibrated copy in evaluation mode. The variance is the mean of the batches' biased variances, as in Once-for-all.

    Raises:
        ValueError: There was no image.
    """
    measuring = copy.deepcopy(subnet).eval()
    for module in list(measuring.modules()):
        for name, child in module.named_children():
            if isinstance(child, BatchNorm):
                replacement = _MeasuringBatchNorm(len(child.weight)).to(child.weight.device)
                replacement.weight, replacement.bias = child.weight, child.bias
                setattr(module, name, replacement)
    seen = 0
    for batch in images:
        measuring(batch)
        seen += len(batch)
    if not seen:
        raise ValueError("calibration needs at least one image, but none came")
    calibrated = copy.deepcopy(subnet).eval()
    calibrated.load_state_dict(measuring.state_dict())
    return calibrated
