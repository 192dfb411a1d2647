"""The supernets of spaces of MBConv blocks: all their subnets in one set of weights.

Source: Once-for-all (Cai et al., ICLR 2020), section 3 and its supplementary material.
"""

from typing import cast

import torch
from torch import Tensor, nn

from nat_deploy.spaces import Architecture, Block, MBConvSpace
from nat_deploy.spaces.block import make_divisible
from nat_deploy.supernets.layers import Conv, Linear, MBConv, Pool, initialise, make_layer
from nat_deploy.supernets.supernet import ElasticLayer, Supernet, importance_order


class ElasticMBConv(MBConv, ElasticLayer):
    """An MBConv that can run with fewer channels and smaller kernels than it holds.

    Channels are prefixes. A smaller kernel is the centre of the next larger one, multiplied by a learned matrix that all channels of the layer share;
    a 3x3 kernel comes from the transformed 5x5 one.
    """

    def __init__(self, largest: Block) -> None:
        super().__init__(largest)
        self.transform_5 = nn.Parameter(torch.eye(5 * 5))
        self.transform_3 = nn.Parameter(torch.eye(3 * 3))

    def depthwise_weight(self, kernel: int, mid: int) -> Tensor:
        """Filters of shape (mid, 1, kernel, kernel)."""
        weight = self.depthwise.weight[:mid]
        for size, matrix in ((5, self.transform_5), (3, self.transform_3)):
            if kernel <= size:
                centre = weight[:, :, 1:-1, 1:-1].reshape(mid, size * size)
                weight = (centre @ matrix.T).reshape(mid, 1, size, size)
        return weight

    def forward(self, x_NCHW: Tensor, block: Block | None = None) -> Tensor:
        block = block or self.block
        weight = self.depthwise_weight(block.kernel_size, block.mid_channels)
        return self.run(x_NCHW, weight, block.mid_channels, block.se_channels)

    def weights_of(self, block: Block) -> dict[str, Tensor]:
        """Weights of the plain layer of `block`: slices of this layer's tensors."""
        mid, se = block.mid_channels, block.se_channels
        weights = {
            "expansion.weight": self.expansion.weight[:mid],
            "depthwise.weight": self.depthwise_weight(block.kernel_size, mid),
            "projection.weight": self.projection.weight[:, :mid],
        }
        for name, channels in (("expansion_bn", mid), ("depthwise_bn", mid), ("projection_bn", block.out_channels)):
            for tensor_name, tensor in getattr(self, name).state_dict().items():
                weights[f"{name}.{tensor_name}"] = tensor[:channels]
        if se:
            weights["se_reduce.weight"] = self.se_reduce.weight[:se, :mid]
            weights["se_reduce.bias"] = cast(Tensor, self.se_reduce.bias)[:se]
            weights["se_expand.weight"] = self.se_expand.weight[:mid, :se]
            weights["se_expand.bias"] = cast(Tensor, self.se_expand.bias)[:mid]
        return weights


class MBConvSupernet(Supernet):
    """The supernet of an `MBConvSpace`."""

    space: MBConvSpace

    def __init__(self, space: MBConvSpace, generator: torch.Generator | None = None) -> None:
        super().__init__(space)
        stem, first, *rest = space.blocks(space.largest())
        layers, head = rest[: space.num_layers], rest[space.num_layers :]
        self.stem = cast(Conv, make_layer(stem))
        self.first = cast(MBConv, make_layer(first))
        self.layers = nn.ModuleList(ElasticMBConv(block) for block in layers)
        self.final_expand = cast(Conv, make_layer(head[0]))
        self.pool = Pool()
        self.feature_mix = cast(Linear, make_layer(head[2])) if space.layout.feature_channels else None
        self.classifier = cast(Linear, make_layer(head[-1]))
        initialise(self, generator)

    def modules_of(self, architecture: Architecture) -> list[tuple[nn.Module, Block]]:
        starts = self.space.stage_starts
        layers = [
            self.layers[start + place] for start, depth in zip(starts, architecture.depth, strict=False) for place in range(depth)
        ]
        head = [self.final_expand, self.pool, *([self.feature_mix] if self.feature_mix else []), self.classifier]
        return list(zip([self.stem, self.first, *layers, *head], self.space.blocks(architecture), strict=True))

    @torch.no_grad()
    def sort_channels(self, expands: tuple[float, ...]) -> None:
        """A channel's importance is the L1 norm of the projection weights that read it."""
        for layer in cast(list[ElasticMBConv], list(self.layers)):
            block = layer.block
            widths = sorted(make_divisible(block.in_channels * expand) for expand in expands)
            order = importance_order(layer.projection.weight.abs().sum((0, 2, 3)), widths)
            for tensor in (layer.expansion.weight, layer.depthwise.weight):
                tensor.copy_(tensor[order])
            for bn in (layer.expansion_bn, layer.depthwise_bn):
                for tensor in bn.state_dict().values():
                    tensor.copy_(tensor[order])
            layer.projection.weight.copy_(layer.projection.weight[:, order])
            if block.se_channels:
                layer.se_reduce.weight.copy_(layer.se_reduce.weight[:, order])
                layer.se_expand.weight.copy_(layer.se_expand.weight[order])
                cast(Tensor, layer.se_expand.bias).copy_(cast(Tensor, layer.se_expand.bias)[order])
