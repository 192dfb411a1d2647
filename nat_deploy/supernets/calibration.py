"""Batch-norm calibration: statistics of one subnet, measured instead of inherited.

A supernet's running statistics mix those of all subnets; with them a small subnet guesses. Source: Once-for-all, section 3.3; Yu & Huang, "Universally
Slimmable Networks" (ICCV 2019), section 3.
"""

import copy
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nat_deploy.supernets.layers import BatchNorm
from nat_deploy.supernets.subnet import Subnet


class _MeasuringBatchNorm(BatchNorm):
    """Normalises each batch by its own statistics, as in training, and adds them up weighted by the batch's size."""

    def __init__(self, measured: BatchNorm) -> None:
        super().__init__(len(measured.weight), measured.eps)
        self.to(measured.weight)
        self.weight, self.bias = measured.weight, measured.bias
        self.num_images = 0

    def forward(self, x_NCHW: Tensor) -> Tensor:
        # one fused pass: `torch.var_mean` alone takes ten times as long on a CPU in channels-last memory
        y_NCHW, mean, inverse_deviation = torch.native_batch_norm(x_NCHW, self.weight, self.bias, None, None, True, 0.0, self.eps)
        variance = inverse_deviation.pow(-2).sub(self.eps).clamp(min=0)
        images = len(x_NCHW)
        share = images / (self.num_images + images)
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)
        self.num_images += images
        return y_NCHW


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
    measuring = _measuring_copy(subnet)
    _check_seen(sum(len(measuring(batch)) for batch in images))
    return cast(Subnet, _with_plain_batch_norms(measuring))


@torch.no_grad()
def calibrate_layer(layer: nn.Module, inputs: Sequence[Tensor]) -> tuple[nn.Module, list[Tensor]]:
    """What `calibrate_batch_norm` does, for one layer of a network.

    Args:
        layer: A plain layer; it stays as it is.
        inputs: Batches of what the layers before it gave to the calibration images.

    Returns:
        The calibrated copy in evaluation mode, and the inputs of the next layer.

    Raises:
        ValueError: There was no image.
    """
    _check_seen(sum(len(batch) for batch in inputs))
    measuring = _measuring_copy(layer)
    outputs = [measuring(batch) for batch in inputs]
    return _with_plain_batch_norms(measuring), outputs


def _check_seen(num_images: int) -> None:
    if not num_images:
        raise ValueError("calibration needs at least one image, but none came")


def _measuring_copy(network: nn.Module) -> nn.Module:
    measuring = copy.deepcopy(network).eval()
    for module in list(measuring.modules()):
        for name, child in module.named_children():
            if isinstance(child, BatchNorm):
                setattr(module, name, _MeasuringBatchNorm(child))
    return measuring


def _with_plain_batch_norms(measuring: nn.Module) -> nn.Module:
    for module in list(measuring.modules()):
        for name, child in module.named_children():
            if isinstance(child, _MeasuringBatchNorm):
                plain = BatchNorm(len(child.weight), child.eps).to(child.weight).eval()
                plain.load_state_dict(child.state_dict())
                setattr(module, name, plain)
    return measuring
