"""What depends linearly on the blocks, the call and the resolution of a network: latencies, doubts about them, and the features
that both are learned from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nat_deploy.predictors.latency.block_index import BlockIndex
from nat_deploy.predictors.latency.prediction import FloatArray
from nat_deploy.spaces import Genes


@dataclass(frozen=True, kw_only=True)
class BlockCosts:
    """`q` quantities that are sums over the blocks of a graph, in any unit, such as ms.

    blocks       shape `(num_blocks, q)`: share of each block of an index
    call         shape `(q,)`: share of the call itself
    resolutions  shape `(num_resolutions, q)`: share of every value that a network of this resolution moves
    """

    blocks: FloatArray
    call: FloatArray
    resolutions: FloatArray

    def __matmul__(self, weights: FloatArray) -> "BlockCosts":
        """Other quantities, each a weighted sum of these; weights of shape `(q, r)`."""
        return BlockCosts(blocks=self.blocks @ weights, call=self.call @ weights, resolutions=self.resolutions @ weights)

    def of_graphs(self, index: BlockIndex, counts: sparse.csr_array, resolutions: NDArray[np.int64]) -> FloatArray:
        """The quantities of graphs, shape `(n, q)`; counts and places of resolutions as in `Observations`."""
        moved = (counts @ index.traffic) * (resolutions >= 0)
        return np.asarray(counts @ self.blocks + self.call + moved[:, None] * self.resolutions[resolutions])


@dataclass(frozen=True, kw_only=True)
class CostTable:
    """`BlockCosts` of a space laid out by cells (see `BlockPlaces`), so that quantities of many networks are a few additions each.

    call   shape `(q,)`
    cells  shape `(num_cells, q)`: the block that stands there
    """

    index: BlockIndex
    call: FloatArray
    cells: FloatArray

    @classmethod
    def of(cls, index: BlockIndex, costs: BlockCosts) -> "CostTable":
        by_resolution = costs.blocks + index.traffic[:, None] * costs.resolutions[:, None, :]  # (num_resolutions, num_blocks, q)
        skipped = np.zeros((len(by_resolution), 1, by_resolution.shape[2]))
        padded = np.concatenate([by_resolution, skipped], axis=1)
        places = index.places
        return cls(index=index, call=costs.call, cells=padded[places.resolution_of_cell, places.block_of_cell])

    def sums(self, genes: Genes) -> FloatArray:
        """The quantities of networks, shape `(n, q)`; their genes, shape `(n, num_genes)`, are brought to canonical form first."""
        cells = self.index.places.cells(self.index.space.repair(np.asarray(genes, dtype=np.int64)))
        starts = np.arange(0, cells.size + 1, cells.shape[1])
        picked = sparse.csr_array((np.ones(cells.size), cells.ravel(), starts), shape=(len(genes), len(self.cells)))
        return np.asarray(self.call + picked @ self.cells)


def of_blocks(index: BlockIndex, blocks: FloatArray) -> BlockCosts:
    """Quantities of shape `(num_blocks, q)` that only blocks have."""
    width = blocks.shape[1]
    return BlockCosts(blocks=blocks, call=np.zeros(width), resolutions=np.zeros((len(index.space.resolutions), width)))


def of_call(index: BlockIndex) -> BlockCosts:
    """One of every call, and of nothing else."""
    num_resolutions = len(index.space.resolutions)
    return BlockCosts(blocks=np.zeros((len(index.blocks), 1)), call=np.ones(1), resolutions=np.zeros((num_resolutions, 1)))


def joined(groups: Sequence[BlockCosts]) -> BlockCosts:
    """All quantities side by side."""
    return BlockCosts(
        blocks=np.concatenate([group.blocks for group in groups], axis=1),
        call=np.concatenate([group.call for group in groups]),
        resolutions=np.concatenate([group.resolutions for group in groups], axis=1),
    )
