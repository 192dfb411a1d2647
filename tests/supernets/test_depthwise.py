"""Depthwise convolution against torch's own, outputs and gradients, where it takes each of its ways."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nat_deploy.supernets.depthwise import depthwise_conv

NUM, CHANNELS = 3, 5


def _tensors(side: int, kernel: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(side * kernel)
    images = torch.randn(NUM, CHANNELS, side, side, generator=generator, dtype=torch.float64)
    weight = torch.randn(CHANNELS, 1, kernel, kernel, generator=generator, dtype=torch.float64)
    return images.contiguous(memory_format=torch.channels_last).requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 6, 7, 12, 13])
def test_outputs_and_gradients_are_those_of_the_plain_convolution(side: int, kernel: int, stride: int) -> None:
    images, weight = _tensors(side, kernel)
    expected = F.conv2d(images, weight, None, stride, kernel // 2, groups=CHANNELS)
    found = depthwise_conv(images, weight, None, stride)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(found, [images, weight], upstream),
        torch.autograd.grad(expected, [images, weight], upstream),
        strict=True,
    ):
        assert theirs.abs().max() > 0.1
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("side", [1, 4, 20])
def test_bias_is_added(side: int) -> None:
    images, weight = _tensors(side, 5)
    bias = torch.arange(CHANNELS, dtype=torch.float64)
    expected = F.conv2d(images, weight, bias, 1, 2, groups=CHANNELS)
    torch.testing.assert_close(depthwise_conv(images, weight, bias, 1), expected)


def test_maps_that_are_not_square() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(NUM, CHANNELS, 2, 9, generator=generator, dtype=torch.float64)
    weight = torch.randn(CHANNELS, 1, 7, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(images, weight, None, 2, 3, groups=CHANNELS)
    found = depthwise_conv(images, weight, None, 2)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), weight)[0] for y in (found, expected)))


def test_taps_that_only_meet_padding_have_no_gradient() -> None:
    images, weight = _tensors(2, 7)
    (gradient,) = torch.autograd.grad(depthwise_conv(images, weight, None, 1).sum(), weight)
    reached = torch.zeros(7, 7, dtype=torch.bool)
    reached[2:5, 2:5] = True
    assert (gradient[:, 0, ~reached] == 0).all()
    assert (gradient[:, 0, reached] != 0).all()
