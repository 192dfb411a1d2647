"""All distinct blocks of a space, and which of them an architecture is made of: networks as sparse counts of blocks."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nat_deploy.predictors.latency.block_features import (
    block_features,
    block_size,
    block_traffic,
    features_by_type,
    traffic_by_variant,
)
from nat_deploy.predictors.latency.prediction import FloatArray
from nat_deploy.spaces import Block, Genes, SearchSpace


@dataclass(frozen=True)
class BlockIndex:
    """The distinct blocks of a space, found through what every space offers.

    It holds for spaces whose first gene is the resolution, whose last genes are one layer each (0 for a skipped layer), and
    where a layer's block depends on its own gene and the resolution only. `__post_init__` checks that on the extremes and on
    random architectures.
    """

    space: SearchSpace

    def __post_init__(self) -> None:
        some = np.concatenate(
            [
                self.space.sample(np.random.default_rng(0), 8),
                [self.space.encode(arch) for arch in (self.space.smallest(), self.space.largest())],
            ]
        )
        for genes, row in zip(some, self.count(some), strict=True):
            blocks = self.space.blocks(self.space.decode(genes))
            counted = sorted(
                self.blocks[block].key for block, times in zip(row.indices, row.data, strict=True) for _ in range(int(times))
            )
            if counted != sorted(block.key for block in blocks):
                raise ValueError(f"layers of space '{self.space.name}' must not depend on one another, but their blocks do")

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Every block that some architecture contains, shape `(num_blocks,)`."""
        return self._found[0]

    @cached_property
    def features(self) -> FloatArray:
        """`block_features` of the blocks, shape `(num_blocks, NUM_FEATURES)`."""
        return block_features(self.blocks)

    @cached_property
    def traffic(self) -> FloatArray:
        """`block_traffic` of the blocks, shape `(num_blocks,)`."""
        return block_traffic(self.features)

    @cached_property
    def size(self) -> FloatArray:
        """MACs and traffic of each block, shape `(num_blocks, 2)`."""
        return block_size(self.blocks, self.features)

    @cached_property
    def features_by_type(self) -> FloatArray:
        """The features of each block in the columns of its layer type, zero elsewhere; shape `(num_blocks, p)`."""
        return features_by_type(self.blocks, self.features)

    @cached_property
    def traffic_by_variant(self) -> FloatArray:
        """The traffic of each block in the column of its variant, zero elsewhere; shape `(num_blocks, p)`."""
        return traffic_by_variant(self.blocks, self.features)

    @property
    def fixed(self) -> NDArray[np.int64]:
        """Places of the blocks that every network of a resolution has, shape `(num_resolutions, num_fixed)`."""
        return self._found[1]

    @property
    def layers(self) -> NDArray[np.int64]:
        """Place of the block that each value of each of the last genes stands for, shape `(num_resolutions, num_layers,
        num_values)`; `num_blocks` where a layer is skipped."""
        return self._found[2]

    def count(self, genes: Genes) -> sparse.csr_array:
        """How often each block occurs in each network, shape `(n, num_blocks)`."""
        genes = self.space.repair(genes)
        fixed, layers = self.fixed, self.layers
        num_layers = layers.shape[1]
        picked = layers[genes[:, :1], np.arange(num_layers), genes[:, -num_layers:]]
        indices = np.concatenate([fixed[genes[:, 0]], picked], axis=1)
        # Skipped layers point at one column more than there are blocks; it is cut off at the end.
        shape = (len(genes), len(self.blocks) + 1)
        starts = np.arange(len(genes) + 1) * indices.shape[1]
        counts = sparse.csr_array((np.ones(indices.size), indices.ravel(), starts), shape=shape)
        counts.sum_duplicates()
        return counts[:, :-1]

    @cached_property
    def _found(self) -> tuple[tuple[Block, ...], NDArray[np.int64], NDArray[np.int64]]:
        """Blocks; places of the blocks that every network has, `(resolutions, fixed)`; places of layers, `(resolutions, layers,
        genes)`.

        One network per resolution and gene value shows the blocks of all layers at once, since no layer depends on another.
        """
        num_values = int(self.space.gene_upper[-1])
        places: dict[Block, int] = {}
        rows = []
        for resolution in range(len(self.space.resolutions)):
            networks = []
            for value in range(1, num_values + 1):
                genes = np.minimum(np.full_like(self.space.gene_upper, value), self.space.gene_upper)
                genes[0] = resolution
                networks.append([places.setdefault(block, len(places)) for block in self.space.blocks(self.space.decode(genes))])
            rows.append(networks)
        found = np.array(rows, dtype=np.int64).swapaxes(1, 2)  # (resolutions, blocks of the deepest network, values)
        elastic = np.flatnonzero((found != found[..., :1]).any(axis=(0, 2)))
        layers = np.full((*found[:, elastic].shape[:2], num_values + 1), len(places), dtype=np.int64)
        layers[..., 1:] = found[:, elastic]
        return tuple(places), np.delete(found[..., 0], elastic, axis=1), layers
