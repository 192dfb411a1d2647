"""What an accuracy surrogate sees of an architecture.

Genes are codes, not quantities: gene 4 (expand 4, kernel 3) is no middle between 1 and 9, and 0 means no layer at all. Features
are quantities: sizes in order, sums over stages, and the logarithms of the costs, with which accuracy saturates. They come in
named groups, because a surrogate may trust one group more than another.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nat_deploy.spaces import Genes, MBConvSpace, SearchSpace
from nat_deploy.spaces.mbconv_space import EXPANDS, FIRST_LAYER_GENE, KERNELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """`values`, shape `(n, f)`, float64, each of the order of 1; `groups`, shape `(f,)`, the number of the group of each column, rising from 0."""

    values: NDArray[np.float64]
    groups: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> "Features":
        return Features(values=self.values[rows], groups=self.groups)


def accuracy_features(space: SearchSpace, genes: Genes) -> Features:
    """Features of gene strings of shape `(n, num_genes)`; a space without a description of its own gives its genes, scaled, and its costs."""
    counts = space.count(genes)
    ends = space.count(np.stack([space.encode(space.smallest()), space.encode(space.largest())]))
    costs = np.stack([_log_position(counts.macs, *ends.macs), _log_position(counts.num_params, *ends.num_params)], axis=1)
    match space:
        case MBConvSpace():
            return _grouped(_mbconv_groups(space, space.repair(genes), costs))
        case _:
            spread = np.maximum(space.gene_upper - space.gene_lower, 1)
            return _grouped([2.0 * (genes - space.gene_lower) / spread - 1.0, costs, costs**2])


def _mbconv_groups(space: MBConvSpace, genes: Genes, costs: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    layers = genes[:, FIRST_LAYER_GENE:]
    active = layers > 0
    kernels = np.array(KERNELS, dtype=np.float64)
    expands = np.array(EXPANDS, dtype=np.float64)
    # A layer that is not there has the average value, so that its size says nothing and only the depth of its stage speaks.
    kernel = np.where(active, ((kernels - kernels.mean()) / 2)[(layers - 1) % len(KERNELS)], 0.0)
    expand = np.where(active, (expands - expands.mean())[(layers - 1) // len(KERNELS)], 0.0)
    kernel_sums, expand_sums, depth = (
        np.add.reduceat(values, space.stage_starts[:-1], axis=1) for values in (kernel, expand, active.astype(np.int64))
    )
    depth = depth - [np.mean(stage.depths) for stage in space.layout.stages]
    mean_length = space.num_layers / len(space.layout.stages)
    resolutions = np.array(space.resolutions)
    resolution = _log_position(resolutions[genes[:, 0]], resolutions[0], resolutions[-1])[:, None]
    whole = np.stack([kernel.sum(axis=1) / mean_length, expand.sum(axis=1) / mean_length, depth.sum(axis=1)], axis=1)
    return [
        np.concatenate([resolution, resolution**2], axis=1),
        depth,
        depth**2,
        kernel,
        expand,
        kernel_sums,
        expand_sums,
        whole,
        costs,
        np.concatenate([costs**2, costs[:, :1] * costs[:, 1:], costs * resolution], axis=1),
    ]


def _grouped(groups: list[NDArray[np.float64]]) -> Features:
    sizes = [group.shape[1] for group in groups]
    return Features(values=np.concatenate(groups, axis=1), groups=np.repeat(np.arange(len(groups)), sizes))


def _log_position(values: NDArray[np.int64], low: float, high: float) -> NDArray[np.float64]:
    """Where values lie between two ends on a logarithmic scale: -1 at `low`, 1 at `high`; 0 if the ends are one."""
    if high == low:
        return np.zeros(len(values))
    return np.asarray(2.0 * np.log(values / low) / np.log(high / low) - 1.0, dtype=np.float64)
