"""The modules that blocks are made of, for subnets and supernets alike.

Axes: N images, C channels, H height, W width, F features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nat_deploy.spaces.block import BATCH_NORM_EPS, Activation, Block
from nat_deploy.supernets.depthwise import depthwise_conv

BATCH_NORM_MOMENTUM = 0.1


class BatchNorm(nn.Module):
    """Batch norm over the first channels that come: an input of `C` channels uses and updates the first `C` entries."""

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = BATCH_NORM_EPS) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        channels = x_NCHW.shape[1]
        return F.batch_norm(
            x_NCHW,
            self.running_mean[:channels],
            self.running_var[:channels],
            self.weight[:channels],
            self.bias[:channels],
            self.training,
            BATCH_NORM_MOMENTUM,
            self.eps,
        )


def activate(x: Tensor, activation: Activation) -> Tensor:
    match activation:
        case "relu":
            return F.relu(x, inplace=True)
        case "relu6":
            return F.relu6(x, inplace=True)
        case "hswish":
            return F.hardswish(x)
        case "none":
            return x


class Conv(nn.Module):
    """Convolution, batch norm, activation, [shortcut]."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        self.conv = nn.Conv2d(
            block.in_channels, block.out_channels, block.kernel_size, block.stride, block.kernel_size // 2, bias=False
        )
        self.bn = BatchNorm(block.out_channels, block.batch_norm_eps)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.run(x_NCHW, self.block.out_channels)

    def run(self, x_NCHW: Tensor, out_channels: int) -> Tensor:
        """With the first `out_channels` outputs, and as many inputs as come."""
        weight, bias = self.conv.weight[:out_channels, : x_NCHW.shape[1]], _first(self.conv.bias, out_channels)
        y = F.conv2d(x_NCHW, weight, bias, self.conv.stride, self.conv.padding)
        y = activate(self.bn(y), self.block.activation)
        return torch.add(y, x_NCHW) if self.block.shortcut else y


class MaxPool(nn.Module):
    """Largest value of each square, padded so that every input is in one."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.max_pool2d(x_NCHW, self.block.kernel_size, self.block.stride, self.block.kernel_size // 2)


class Pool(nn.Module):
    """Mean over height and width: (N, C, H, W) to (N, C)."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW.mean((2, 3))


class Linear(nn.Module):
    """Fully connected layer and activation: (N, F) to (N, F)."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        self.linear = nn.Linear(block.in_channels, block.out_channels, bias=block.bias)

    def forward(self, x_NF: Tensor) -> Tensor:
        return activate(F.linear(x_NF, self.linear.weight[:, : x_NF.shape[1]], self.linear.bias), self.block.activation)


class MBConv(nn.Module):
    """Inverted bottleneck: [expansion], depthwise, [squeeze-excite], projection, [shortcut].

    `run` computes with the first `mid_channels` of every tensor, so that a supernet's layer can be any of its subnets' layers.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        mid = block.mid_channels
        if block.expanded:
            self.expansion = nn.Conv2d(block.in_channels, mid, 1, bias=False)
            self.expansion_bn = BatchNorm(mid, block.batch_norm_eps)
        self.depthwise = nn.Conv2d(mid, mid, block.kernel_size, block.stride, block.kernel_size // 2, groups=mid, bias=False)
        self.depthwise_bn = BatchNorm(mid, block.batch_norm_eps)
        if block.se_channels:
            self.se_reduce = nn.Conv2d(mid, block.se_channels, 1)
            self.se_expand = nn.Conv2d(block.se_channels, mid, 1)
        self.projection = nn.Conv2d(mid, block.out_channels, 1, bias=False)
        self.projection_bn = BatchNorm(block.out_channels, block.batch_norm_eps)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.run(x_NCHW, self.depthwise.weight, self.block.mid_channels, self.block.se_channels)

    def run(self, x_NCHW: Tensor, depthwise: Tensor, mid: int, se: int) -> Tensor:
        """The block with `mid` channels inside, `se` in its squeeze-excite, and `depthwise` filters of shape (mid, 1, k, k)."""
        y = x_NCHW
        if self.block.expanded:
            y = activate(self.expansion_bn(F.conv2d(y, self.expansion.weight[:mid], self.expansion.bias)), self.block.activation)
        y = depthwise_conv(y, depthwise, self.depthwise.bias, self.block.stride)
        y = activate(self.depthwise_bn(y), self.block.activation)
        if se:
            y = y * self._squeeze_excite(y, mid, se)
        y = self.projection_bn(F.conv2d(y, self.projection.weight[:, :mid], self.projection.bias))
        return torch.add(y, x_NCHW) if self.block.shortcut else y

    def _squeeze_excite(self, y_NCHW: Tensor, mid: int, se: int) -> Tensor:
        gate = y_NCHW.mean((2, 3), keepdim=True)
        gate = F.relu(F.conv2d(gate, self.se_reduce.weight[:se, :mid], self.se_reduce.bias[:se]))  # type: ignore[index]
        return F.hardsigmoid(F.conv2d(gate, self.se_expand.weight[:mid, :se], self.se_expand.bias[:mid]))  # type: ignore[index]


class Bottleneck(nn.Module):
    """1x1, kxk, 1x1 beside a shortcut, or beside average pooling and 1x1 (ResNet-D); `run` computes with the first channels of every tensor."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        mid, out, eps = block.mid_channels, block.out_channels, block.batch_norm_eps
        self.conv1 = nn.Conv2d(block.in_channels, mid, 1, bias=False)
        self.conv1_bn = BatchNorm(mid, eps)
        self.conv2 = nn.Conv2d(mid, mid, block.kernel_size, block.stride, block.kernel_size // 2, bias=False)
        self.conv2_bn = BatchNorm(mid, eps)
        self.conv3 = nn.Conv2d(mid, out, 1, bias=False)
        self.conv3_bn = BatchNorm(out, eps)
        if not block.shortcut:
            self.downsample = nn.Conv2d(block.in_channels, out, 1, bias=False)
            self.downsample_bn = BatchNorm(out, eps)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.run(x_NCHW, self.block.mid_channels, self.block.out_channels)

    def run(self, x_NCHW: Tensor, mid: int, out: int) -> Tensor:
        """The block with `mid` channels inside, `out` outputs, and as many inputs as come."""
        channels, activation = x_NCHW.shape[1], self.block.activation
        y = F.conv2d(x_NCHW, self.conv1.weight[:mid, :channels], _first(self.conv1.bias, mid))
        y = activate(self.conv1_bn(y), activation)
        y = F.conv2d(y, self.conv2.weight[:mid, :mid], _first(self.conv2.bias, mid), self.conv2.stride, self.conv2.padding)
        y = activate(self.conv2_bn(y), activation)
        y = self.conv3_bn(F.conv2d(y, self.conv3.weight[:out, :mid], _first(self.conv3.bias, out)))
        beside = x_NCHW if self.block.shortcut else self._downsampled(x_NCHW, out)
        return activate(torch.add(y, beside), activation)

    def _downsampled(self, x_NCHW: Tensor, out: int) -> Tensor:
        stride = self.block.stride
        if stride > 1:  # of an odd size, the last window holds what there is
            x_NCHW = F.avg_pool2d(x_NCHW, stride, stride, ceil_mode=True)
        weight = self.downsample.weight[:out, : x_NCHW.shape[1]]
        y: Tensor = self.downsample_bn(F.conv2d(x_NCHW, weight, _first(self.downsample.bias, out)))
        return y


def _first(bias: Tensor | None, channels: int) -> Tensor | None:
    """A bias is there after folding only."""
    return None if bias is None else bias[:channels]


def make_layer(block: Block) -> nn.Module:
    """The plain module of one block."""
    match block.kind:
        case "conv":
            return Conv(block)
        case "mbconv":
            return MBConv(block)
        case "bottleneck":
            return Bottleneck(block)
        case "maxpool":
            return MaxPool(block)
        case "pool":
            return Pool()
        case "linear":
            return Linear(block)


def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """He fan-out for convolutions, uniform ±1/sqrt(fan_in) for linear layers, as Once-for-all trains ("he_fout").

    Blocks with a shortcut start as the identity (Goyal et al., arXiv 1706.02677, section 5.1): in our runs the first epochs then learn much faster.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.weight.shape[0] // layer.groups * layer.weight[0, 0].numel()
            nn.init.normal_(layer.weight, 0.0, (2.0 / fan_out) ** 0.5, generator=generator)
        elif isinstance(layer, nn.Linear):
            nn.init.uniform_(layer.weight, -(layer.in_features**-0.5), layer.in_features**-0.5, generator=generator)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if isinstance(layer, MBConv) and layer.block.shortcut:
            nn.init.zeros_(layer.projection_bn.weight)
        if isinstance(layer, Bottleneck) and layer.block.shortcut:
            nn.init.zeros_(layer.conv3_bn.weight)
