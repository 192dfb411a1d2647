"""The supernet of the ResNet-50-D space: bottlenecks whose inner width and outputs are prefixes of its own.

Source: Once-for-all (Cai et al., ICLR 2020) and its published code.
"""

from typing import cast

import torch
from torch import Tensor, nn

from nat_deploy.spaces import Architecture, Block, OfaResNet50Space
from nat_deploy.spaces.ofa_resnet50 import STAGE_STARTS, mid_channels
from nat_deploy.supernets.layers import BatchNorm, Bottleneck, Conv, Linear, MaxPool, Pool, initialise
from nat_deploy.supernets.supernet import ElasticLayer, Supernet, importance_order


class ElasticConv(Conv, ElasticLayer):
    """A convolution whose inputs and outputs are prefixes."""

    def forward(self, x_NCHW: Tensor, block: Block | None = None) -> Tensor:
        return self.run(x_NCHW, (block or self.block).out_channels)

    def weights_of(self, block: Block) -> dict[str, Tensor]:
        return {
            "conv.weight": self.conv.weight[: block.out_channels, : block.in_channels],
            **_batch_norm("bn", self.bn, block.out_channels),
        }


class ElasticBottleneck(Bottleneck, ElasticLayer):
    """A bottleneck whose inputs, inner channels and outputs are prefixes."""

    def forward(self, x_NCHW: Tensor, block: Block | None = None) -> Tensor:
        block = block or self.block
        return self.run(x_NCHW, block.mid_channels, block.out_channels)

    def weights_of(self, block: Block) -> dict[str, Tensor]:
        entering, mid, out = block.in_channels, block.mid_channels, block.out_channels
        weights = {
            "conv1.weight": self.conv1.weight[:mid, :entering],
            **_batch_norm("conv1_bn", self.conv1_bn, mid),
            "conv2.weight": self.conv2.weight[:mid, :mid],
            **_batch_norm("conv2_bn", self.conv2_bn, mid),
            "conv3.weight": self.conv3.weight[:out, :mid],
            **_batch_norm("conv3_bn", self.conv3_bn, out),
        }
        if not block.shortcut:
            weights["downsample.weight"] = self.downsample.weight[:out, :entering]
            weights |= _batch_norm("downsample_bn", self.downsample_bn, out)
        return weights


class ElasticLinear(Linear, ElasticLayer):
    """A linear layer whose inputs are a prefix."""

    def forward(self, x_NF: Tensor, block: Block | None = None) -> Tensor:
        return super().forward(x_NF)

    def weights_of(self, block: Block) -> dict[str, Tensor]:
        return {"linear.weight": self.linear.weight[:, : block.in_channels], "linear.bias": self.linear.bias}


class ResNetSupernet(Supernet):
    """The supernet of an `OfaResNet50Space`."""

    space: OfaResNet50Space

    def __init__(self, space: OfaResNet50Space, generator: torch.Generator | None = None) -> None:
        super().__init__(space)
        blocks = space.blocks(space.largest())
        self.stem = nn.ModuleList(ElasticConv(block) for block in blocks[:3])
        self.max_pool = MaxPool(blocks[3])
        self.layers = nn.ModuleList(ElasticBottleneck(block) for block in blocks[4:-2])
        self.pool = Pool()
        self.classifier = ElasticLinear(blocks[-1])
        initialise(self, generator)

    def modules_of(self, architecture: Architecture) -> list[tuple[nn.Module, Block]]:
        stem_depth, *depths = architecture.depth
        stem = [self.stem[0], *([self.stem[1]] if stem_depth else []), self.stem[2], self.max_pool]
        layers = [
            self.layers[start + place] for start, depth in zip(STAGE_STARTS, depths, strict=False) for place in range(depth)
        ]
        return list(zip([*stem, *layers, self.pool, self.classifier], self.space.blocks(architecture), strict=True))

    @torch.no_grad()
    def sort_channels(self, expands: tuple[float, ...]) -> None:
        """Put the most important inner channels of each bottleneck first; outputs of the widths trained so far do not change.

        A channel's importance is the L1 norm of the weights of the last 1x1 convolution that read it; groups as in `MBConvSupernet.sort_channels`.
        Widths are those at the full outputs of a stage.
        """
        for layer in cast(list[ElasticBottleneck], list(self.layers)):
            widths = sorted(mid_channels(layer.block.out_channels, expand) for expand in expands)
            order = importance_order(layer.conv3.weight.abs().sum((0, 2, 3)), widths)
            layer.conv1.weight.copy_(layer.conv1.weight[order])
            layer.conv2.weight.copy_(layer.conv2.weight[order][:, order])
            layer.conv3.weight.copy_(layer.conv3.weight[:, order])
            for bn in (layer.conv1_bn, layer.conv2_bn):
                for tensor in bn.state_dict().values():
                    tensor.copy_(tensor[order])


def _batch_norm(name: str, bn: BatchNorm, channels: int) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor[:channels] for key, tensor in bn.state_dict().items()}
