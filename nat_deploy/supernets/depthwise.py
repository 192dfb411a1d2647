"""Depthwise convolution on maps that may be smaller than the kernel.

There, taps far from the middle only meet padding. Cutting them off changes no output and no gradient, and spares much: on a map of one pixel a 7x7 kernel is a
multiplication, for which torch takes a hundred times as long on a CPU (`benchmarks/small_maps.py`).
"""

import torch.nn.functional as F
from torch import Tensor


def depthwise_conv(x_NCHW: Tensor, weight_C1KK: Tensor, bias_C: Tensor | None, stride: int) -> Tensor:
    """Each channel filtered by its own kernel with zero padding of half a kernel: (N, C, ceil(H / stride), ceil(W / stride))."""
    side = max(x_NCHW.shape[2:])
    weight = _within_reach(weight_C1KK, side)
    if side == 1:
        y = x_NCHW * weight.view(1, -1, 1, 1)
        return y if bias_C is None else y + bias_C.view(1, -1, 1, 1)
    return F.conv2d(x_NCHW, weight, bias_C, stride, weight.shape[-1] // 2, groups=x_NCHW.shape[1])


def _within_reach(weight_C1KK: Tensor, side: int) -> Tensor:
    """The middle of the kernels: no output is further than `side - 1` from any pixel."""
    cut = weight_C1KK.shape[-1] // 2 - (side - 1)
    return weight_C1KK if cut <= 0 else weight_C1KK[:, :, cut:-cut, cut:-cut]
