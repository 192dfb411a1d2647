"""Batch norms computed inside the convolutions before them: for inference, where their statistics stay as they are."""

import copy
from typing import cast

import torch
from torch import nn

from nat_deploy.supernets.layers import BatchNorm


@torch.no_grad()
def fold_batch_norms(network: nn.Module) -> nn.Module:
    """A copy for inference that computes the same, up to rounding, with one pass less over each convolution's output.

    Args:
        network: A plain layer or subnet; each batch norm follows the convolution of its own name: `bn` follows `conv`, `x_bn` follows `x`.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, BatchNorm):
                conv = cast(nn.Conv2d, getattr(module, "conv" if name == "bn" else name.removesuffix("_bn")))
                scale = child.weight * (child.running_var + child.eps).rsqrt()
                conv.weight.mul_(scale.view(-1, 1, 1, 1))
                conv.bias = nn.Parameter(child.bias - child.running_mean * scale)
                setattr(module, name, nn.Identity())
    return folded
