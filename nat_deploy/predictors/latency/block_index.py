"""All distinct blocks of a space, and which of them an architecture is made of: networks as sparse counts of blocks."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from nat_deploy.predictors.latency.block_features import (
    block_features,
    block_size,
    block_traffic,
    features_by_type,
    traffic_by_variant,
)
from nat_deploy.predictors.latency.prediction import FloatArray
from nat_deploy.spaces import Block, BlockPlaces, Genes, SearchSpace


@dataclass(frozen=True)
class BlockIndex:
    """The distinct blocks of a space, found through what every space offers."""

    space: SearchSpace

    @cached_property
    def places(self) -> BlockPlaces:
        return BlockPlaces(self.space)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Every block that some architecture contains, shape `(num_blocks,)`."""
        return self.places.blocks

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

    def count(self, genes: Genes) -> sparse.csr_array:
        """How often each block occurs in each network, shape `(n, num_blocks)`."""
        indices = self.places.block_of_cell[self.places.cells(self.space.repair(genes))]
        # Skipped layers point at one column more than there are blocks; it is cut off at the end.
        shape = (len(genes), len(self.blocks) + 1)
        starts = np.arange(len(genes) + 1) * indices.shape[1]
        counts = sparse.csr_array((np.ones(indices.size), indices.ravel(), starts), shape=shape)
        counts.sum_duplicates()
        return counts[:, :-1]
