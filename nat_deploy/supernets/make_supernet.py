"""The supernet that belongs to a space."""

import torch

from nat_deploy.spaces import MBConvSpace, OfaResNet50Space, SearchSpace
from nat_deploy.supernets.mbconv_supernet import MBConvSupernet
from nat_deploy.supernets.resnet_supernet import ResNetSupernet
from nat_deploy.supernets.supernet import Supernet


def make_supernet(space: SearchSpace, generator: torch.Generator | None = None) -> Supernet:
    """An untrained supernet of `space`; `generator` draws its weights.

    Raises:
        TypeError: The space has no supernet.
    """
    match space:
        case MBConvSpace():
            return MBConvSupernet(space, generator)
        case OfaResNet50Space():
            return ResNetSupernet(space, generator)
        case _:
            raise TypeError(f"space '{space.name}' has no supernet")
