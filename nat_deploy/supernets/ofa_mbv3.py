"""The supernet of the Once-for-all MobileNetV3 spaces: all their subnets in one set of weights.

Source: Once-for-all (Cai et al., ICLR 2020), section 3 and its supplementary material.
"""

from typing import cast

import torch
from torch import Tensor, nn

from nat_deploy.spaces import Architecture, Block, OfaMobileNetV3Space
from nat_deploy.spaces.block import make_divisible
from nat_deploy.spaces.ofa_mbv3 import EXPANDS, STAGE_LENGTH
from nat_deploy.supernets.layers import Conv, Linear, MBConv, Pool, initialise, make_layer
from nat_deploy.supernets.subnet import Subnet


class ElasticMBConv(MBConv):
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


class OfaMobileNetV3Supernet(nn.Module):
    """`supernet(images, architecture)`: logits of one subnet; nothing remembers which one ran last.

    Images are (N, 3, R, R) of any size R that the network can halve five times; an architecture's own resolution says at which size it is meant to run,
    and scaling the images to it is the caller's work.
    """

    def __init__(self, space: OfaMobileNetV3Space, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.space = space
        blocks = space.blocks(space.largest())
        self.stem = cast(Conv, make_layer(blocks[0]))
        self.first = cast(MBConv, make_layer(blocks[1]))
        self.layers = nn.ModuleList(ElasticMBConv(block) for block in blocks[2:-4])
        self.final_expand = cast(Conv, make_layer(blocks[-4]))
        self.pool = Pool()
        self.feature_mix = cast(Linear, make_layer(blocks[-2]))
        self.classifier = cast(Linear, make_layer(blocks[-1]))
        initialise(self, generator)

    def forward(self, images: Tensor, architecture: Architecture) -> Tensor:
        x = images
        for module, block in self.modules_of(architecture):
            x = module(x, block) if isinstance(module, ElasticMBConv) else module(x)
        return x

    def modules_of(self, architecture: Architecture) -> list[tuple[nn.Module, Block]]:
        """The modules that `architecture` runs through, in order, each with the block that it is there."""
        layers = [
            self.layers[STAGE_LENGTH * stage + position]
            for stage, depth in enumerate(architecture.depth)
            for position in range(depth)
        ]
        modules = [self.stem, self.first, *layers, self.final_expand, self.pool, self.feature_mix, self.classifier]
        return list(zip(modules, self.space.blocks(architecture), strict=True))

    @torch.no_grad()
    def with_classes(self, num_classes: int, generator: torch.Generator | None = None) -> "OfaMobileNetV3Supernet":
        """A copy with the same weights and a new, untrained classifier."""
        space = OfaMobileNetV3Space(self.space.width, self.space.resolutions, num_classes)
        copy = OfaMobileNetV3Supernet(space, generator)
        kept = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("classifier.")}
        copy.load_state_dict(kept, strict=False)
        return copy

    def with_resolutions(self, resolutions: tuple[int, ...]) -> "OfaMobileNetV3Supernet":
        """The same weights, searched at other image sizes (the weights do not depend on them)."""
        copy = OfaMobileNetV3Supernet(OfaMobileNetV3Space(self.space.width, resolutions, self.space.num_classes))
        copy.load_state_dict(self.state_dict())
        return copy


@torch.no_grad()
def extract_subnet(supernet: OfaMobileNetV3Supernet, architecture: Architecture) -> Subnet:
    """The plain network of an architecture with its share of the supernet's weights, copied.

    Its batch-norm statistics are the supernet's, which mix all subnets: calibrate them before trusting its outputs.
    """
    pairs = supernet.modules_of(architecture)
    subnet = Subnet([block for _, block in pairs])
    weights: dict[str, Tensor] = {}
    for index, (module, block) in enumerate(pairs):
        weights.update({f"{index}.{name}": tensor for name, tensor in _weights_of(module, block).items()})
    subnet.load_weights(weights)
    return subnet.to(next(supernet.parameters()).device).train(supernet.training)


@torch.no_grad()
def extract_layer(module: nn.Module, block: Block) -> nn.Module:
    """One layer of `extract_subnet`, ready for calibration: `module` is the supernet's, `block` what an architecture makes of it."""
    with torch.device("meta"):  # without random weights, which would be overwritten
        layer = make_layer(block)
    layer.load_state_dict({name: tensor.clone() for name, tensor in _weights_of(module, block).items()}, assign=True)
    return layer.eval().to(memory_format=torch.channels_last)


def _weights_of(module: nn.Module, block: Block) -> dict[str, Tensor]:
    return module.weights_of(block) if isinstance(module, ElasticMBConv) else module.state_dict()


@torch.no_grad()
def sort_channels(supernet: OfaMobileNetV3Supernet, expands: tuple[int, ...] = EXPANDS) -> None:
    """Put the most important mid channels first, so that narrow subnets start from the best ones; outputs of the full width do not change.

    A channel's importance is the L1 norm of the projection weights that read it. `expands` are the widths trained so far: channels only move inside the
    group between two of these widths, so that no trained subnet loses channels. Before any width was trained, give the largest alone.

    Source: progressive shrinking of Once-for-all, section 3.3.
    """
    for layer in cast(list[ElasticMBConv], list(supernet.layers)):
        block = layer.block
        widths = sorted(make_divisible(block.in_channels * expand) for expand in expands)
        importance = layer.projection.weight.abs().sum((0, 2, 3))
        groups = zip([0, *widths[:-1]], widths, strict=True)
        order = torch.cat([low + importance[low:high].argsort(descending=True, stable=True) for low, high in groups])
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
