"""Batch norms computed inside the convolutions before them: for inference, where their statistics stay as they are."""

import copy
from typing import cast

import torch
from torch import Tensor, nn

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
                conv = cast(nn.Conv2d, getattr(module, _convolution_before(name)))
                scale = child.weight * (child.running_var + child.eps).rsqrt()
                conv.weight.mul_(scale.view(-1, 1, 1, 1))
                conv.bias = nn.Parameter(child.bias - child.running_mean * scale)
                setattr(module, name, nn.Identity())
    return folded


def folded_weights(network: nn.Module) -> dict[str, Tensor]:
    """Weights and biases of all layers with the batch norms inside, as `{layer}.weight` and `{layer}.bias`; gradients reach the network's parameters.

    They are computed in double precision and rounded, as ONNX graphs have them. The statistics are those that are kept, also while it trains.
    """
    found: dict[str, Tensor] = {}
    for path, module in network.named_modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d | nn.Linear):
                found |= {f"{path}.{name}.{part}": values for part, values in child.named_parameters()}
            elif isinstance(child, BatchNorm):
                weight = f"{path}.{_convolution_before(name)}.weight"
                scale = child.weight.double() * (child.running_var.double() + child.eps).rsqrt()
                found[weight] = (found[weight] * scale.view(-1, 1, 1, 1)).to(child.weight)
                found[weight.removesuffix("weight") + "bias"] = (child.bias - child.running_mean * scale).to(child.bias)
    return found


def _convolution_before(batch_norm: str) -> str:
    return "conv" if batch_norm == "bn" else batch_norm.removesuffix("_bn")
