"""The supernet of several widths searched as one: a supernet of each width, which share no weights.

Source: Neural Architecture Transfer (Lu et al., arXiv 2005.05859), whose two supernets have the widths 1.0 and 1.2.
"""

from typing import cast

import torch
from torch import nn

from nat_deploy.spaces import Architecture, Block, OfaMobileNetV3WidthsSpace
from nat_deploy.supernets.mbconv_supernet import MBConvSupernet
from nat_deploy.supernets.supernet import Supernet


class WidthsSupernet(Supernet):
    """The supernet of an `OfaMobileNetV3WidthsSpace`; `members` are those of its widths, in their order."""

    space: OfaMobileNetV3WidthsSpace

    def __init__(self, space: OfaMobileNetV3WidthsSpace, generator: torch.Generator | None = None) -> None:
        super().__init__(space)
        self.members = nn.ModuleList(MBConvSupernet(member, generator) for member in space.members)

    def modules_of(self, architecture: Architecture) -> list[tuple[nn.Module, Block]]:
        number, inside = self.space.place_of(architecture)
        return cast(MBConvSupernet, self.members[number]).modules_of(inside)

    def sort_channels(self, expands: tuple[float, ...]) -> None:
        """In each width by itself."""
        for member in self.members:
            cast(MBConvSupernet, member).sort_channels(expands)
