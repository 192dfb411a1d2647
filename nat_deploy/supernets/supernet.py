"""What every supernet can do: run any of its subnets, and cut them out as plain networks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from nat_deploy.spaces import Architecture, Block, SearchSpace
from nat_deploy.supernets.layers import make_layer
from nat_deploy.supernets.subnet import Subnet


class ElasticLayer(ABC):
    """A layer that can run as any block that its space has in its place; it holds the weights of the largest of them."""

    @abstractmethod
    def weights_of(self, block: Block) -> dict[str, Tensor]:
        """Weights of the plain layer of `block`: slices of this layer's tensors."""
        ...


class Supernet(nn.Module, ABC):
    """`supernet(images, architecture)`: logits of one subnet; nothing remembers which one ran last.

    Images are (N, 3, R, R) of any size R that the network can halve five times; an architecture's own resolution says at which size it is meant to run,
    and scaling the images to it is the caller's work. The last layer is named `classifier`.
    """

    def __init__(self, space: SearchSpace, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.space = space

    @abstractmethod
    def modules_of(self, architecture: Architecture) -> list[tuple[nn.Module, Block]]:
        """The modules that `architecture` runs through, in order, each with the block that it is there."""
        ...

    @abstractmethod
    def sort_channels(self, expands: tuple[float, ...]) -> None:
        """Put the most important inner channels first, so that narrow subnets start from the best ones; outputs of the full width do not change.

        `expands` are the widths trained so far: channels only move inside the group between two of these widths, so that no trained subnet loses
        channels. Before any width was trained, give the largest alone. Source: progressive shrinking of Once-for-all, section 3.3.
        """
        ...

    def forward(self, images: Tensor, architecture: Architecture) -> Tensor:
        x = images
        for module, block in self.modules_of(architecture):
            x = module(x, block) if isinstance(module, ElasticLayer) else module(x)
        return x

    @torch.no_grad()
    def with_classes(self, num_classes: int, generator: torch.Generator | None = None) -> Self:
        """A copy with the same weights and a new, untrained classifier."""
        copy = type(self)(_changed(self.space, num_classes=num_classes), generator)
        kept = {name: tensor for name, tensor in self.state_dict().items() if "classifier." not in name}
        copy.load_state_dict(kept, strict=False)
        return copy

    def with_resolutions(self, resolutions: tuple[int, ...]) -> Self:
        """The same weights, searched at other image sizes (the weights do not depend on them)."""
        copy = type(self)(_changed(self.space, resolutions=resolutions))
        copy.load_state_dict(self.state_dict())
        return copy


def _changed(space: SearchSpace, **changes: Any) -> SearchSpace:
    return cast(SearchSpace, replace(cast(Any, space), **changes))  # spaces are dataclasses


@torch.no_grad()
def extract_subnet(supernet: Supernet, architecture: Architecture) -> Subnet:
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
    return module.weights_of(block) if isinstance(module, ElasticLayer) else module.state_dict()


def importance_order(importance: Tensor, widths: Sequence[int]) -> Tensor:
    """Places of channels, the most important first inside each group between two of the rising `widths`; both of shape (channels,)."""
    groups = zip([0, *widths[:-1]], widths, strict=True)
    return torch.cat([low + importance[low:high].argsort(descending=True, stable=True) for low, high in groups])
