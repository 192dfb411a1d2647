"""Measured graphs of one space as arrays: what predictors are fitted on."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nat_deploy.predictors.latency.block_index import BlockIndex
from nat_deploy.predictors.latency.prediction import FloatArray
from nat_deploy.predictors.latency.table import BlockEntry, LatencyTable, NetworkEntry, OverheadEntry, Statistic, Timing
from nat_deploy.spaces import Genes, SearchSpace, make_space

UNKNOWN_SITTING = -1
_Z95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Measured graphs of one space as arrays: networks first, blocks and identity graphs after them.

    counts          shape `(n, num_blocks)`: which blocks of the space a graph holds
    resolutions     shape `(n,)`: place of the resolution in the space; -1 for a block
    latency_ms      shape `(n,)`
    relative_noise  shape `(n,)`: standard deviation of each measurement as a share of it, as far as it is known
    sittings        shape `(n,)`: number of the sitting that a graph was measured in; `UNKNOWN_SITTING` for labels that are taken
                    as they are, all in one state of the device and in that of what is to be predicted
    """

    counts: sparse.csr_array
    resolutions: NDArray[np.int64]
    latency_ms: FloatArray
    relative_noise: FloatArray
    sittings: NDArray[np.int64]

    @property
    def is_network(self) -> NDArray[np.bool_]:
        return self.resolutions >= 0

    @cached_property
    def graphs(self) -> NDArray[np.int64]:
        """Number of each row's graph, shape `(n,)`: rows of the same graph, measured again, have the same number."""
        marks = np.random.default_rng(0).random((self.counts.shape[1], 2))  # sums of these differ where the blocks differ
        rows = np.column_stack([self.resolutions, self.counts @ marks])
        return np.asarray(np.unique(rows, axis=0, return_inverse=True)[1].ravel(), dtype=np.int64)

    @property
    def num_networks(self) -> int:
        """How many different networks there are."""
        return len(np.unique(self.graphs[self.is_network]))

    def pick(self, rows: NDArray[np.bool_]) -> "Observations":
        """Only the rows where `rows`, shape `(n,)`, is true."""
        return Observations(
            counts=self.counts[np.flatnonzero(rows)],
            resolutions=self.resolutions[rows],
            latency_ms=self.latency_ms[rows],
            relative_noise=self.relative_noise[rows],
            sittings=self.sittings[rows],
        )


def network_observations(index: BlockIndex, genes: Genes, latency_ms: FloatArray) -> Observations:
    """Observations of whole networks alone, their latencies of shape `(n,)`, of unknown noise and of no sitting."""
    return Observations(
        counts=index.count(genes),
        resolutions=genes[:, 0],
        latency_ms=latency_ms,
        relative_noise=np.zeros(len(genes)),
        sittings=np.full(len(genes), UNKNOWN_SITTING),
    )


def table_observations(index: BlockIndex, table: LatencyTable, statistic: Statistic) -> Observations:
    """Everything in a table that belongs to the space; entries of other resolutions or class counts are left out."""
    space = index.space
    networks = [entry for entry in table.networks if entry.architecture.resolution in space.resolutions]
    genes = np.array([space.encode(entry.architecture) for entry in networks], dtype=np.int64).reshape(-1, len(space.gene_lower))
    places = {block: place for place, block in enumerate(index.blocks)}
    blocks = [entry for entry in table.blocks if entry.block in places]
    alone = sparse.csr_array(
        (np.ones(len(blocks)), (np.arange(len(blocks)), [places[entry.block] for entry in blocks])),
        shape=(len(blocks) + len(table.overheads), len(index.blocks)),
    )
    entries: list[NetworkEntry | BlockEntry | OverheadEntry] = [*networks, *blocks, *table.overheads]
    timings = [entry.timing for entry in entries]
    return Observations(
        counts=sparse.vstack([index.count(genes), alone], format="csr"),
        resolutions=np.concatenate([genes[:, 0], np.full(alone.shape[0], -1)]),
        latency_ms=np.array([timing.value_ms(statistic) for timing in timings]),
        relative_noise=np.array([_relative_noise(timing, statistic) for timing in timings]),
        sittings=np.array([entry.sitting for entry in entries], dtype=np.int64),
    )


def measured_index(space: SearchSpace, *tables: LatencyTable) -> BlockIndex:
    """Blocks of everything that is in the tables or in the space; the number of classes is that of the first table."""
    measured = {entry.architecture.resolution for table in tables for entry in table.networks}
    resolutions = tuple(sorted({*space.resolutions, *measured}))
    return BlockIndex(make_space(space.name, resolutions=resolutions, num_classes=tables[0].num_classes))


def _relative_noise(timing: Timing, statistic: Statistic) -> float:
    low, high = timing.interval_ms(statistic)
    return math.log(high / low) / 2 / _Z95
