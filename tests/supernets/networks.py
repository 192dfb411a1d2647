"""Supernets whose outputs mean something: batch norms with statistics, weights away from their start."""

import numpy as np
import torch

from nat_deploy.spaces import OfaMobileNetV3Space, SearchSpace
from nat_deploy.supernets import MBConvSupernet, Supernet, make_supernet
from nat_deploy.supernets.layers import BatchNorm
from nat_deploy.supernets.mbconv_supernet import ElasticMBConv


def make_lively_supernet(width: float = 0.35, resolutions: tuple[int, ...] = (32, 48), num_classes: int = 7) -> MBConvSupernet:
    supernet = make_lively_supernet_of(OfaMobileNetV3Space(width, resolutions, num_classes))
    assert isinstance(supernet, MBConvSupernet)
    return supernet


@torch.no_grad()
def make_lively_supernet_of(space: SearchSpace) -> Supernet:
    """A float64 supernet with random scales, shifts and kernel matrices, and statistics from a few random subnets."""
    generator = torch.Generator().manual_seed(1)
    supernet = make_supernet(space, generator).double()
    for module in supernet.modules():
        if isinstance(module, BatchNorm):
            module.weight.copy_(0.5 + torch.rand(len(module.weight), generator=generator))
            module.bias.copy_(0.2 * torch.randn(len(module.bias), generator=generator))
        if isinstance(module, ElasticMBConv):
            for matrix in (module.transform_5, module.transform_3):
                matrix.add_(0.05 * torch.randn(matrix.shape, generator=generator))
    rng = np.random.default_rng(0)
    images = torch.randn(16, 3, 32, 32, generator=generator, dtype=torch.float64)
    supernet.train()
    for genes in supernet.space.sample(rng, 20):
        supernet(images, supernet.space.decode(genes))
    return supernet.eval()
