"""What to measure next: whole networks first and foremost, a share of single blocks beside them."""

from dataclasses import dataclass

import numpy as np

from nat_deploy.predictors.latency import BlockIndex, LatencyTable
from nat_deploy.spaces import Architecture, Block

SITTING_SIZE = 12
_NUM_SAMPLED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """Graphs to be measured interleaved; `with_overhead` adds a graph that does nothing."""

    networks: tuple[Architecture, ...] = ()
    blocks: tuple[Block, ...] = ()
    with_overhead: bool = False

    @property
    def num_graphs(self) -> int:
        return len(self.networks) + len(self.blocks) + self.with_overhead


def choose_sitting(index: BlockIndex, table: LatencyTable, *, seed: int, every_nth_blocks: int, num_networks: int) -> Sitting:
    """The next sitting of a table; the same table and seed give the same sitting, so that a killed one can be taken up again.

    The first holds both extremes of the space, so that predictions lie between measured networks. Every n-th sitting measures
    blocks, those that random architectures use most and that are not in the table yet.

    Args:
        every_nth_blocks: 4 gives every fourth sitting to blocks; 0 none.
        num_networks: Most networks in a sitting.
    """
    number = table.num_sittings
    rng = np.random.default_rng((seed, number))
    if every_nth_blocks and number % every_nth_blocks == every_nth_blocks - 1:
        blocks = _used_blocks(index, table, rng)
        if blocks:
            return Sitting(blocks=blocks)
    known = {entry.architecture for entry in table.networks}
    extremes = [arch for arch in (index.space.smallest(), index.space.largest()) if not known]
    sampled = [index.space.decode(genes) for genes in index.space.sample(rng, 4 * SITTING_SIZE)]
    count = max(1, min(num_networks, SITTING_SIZE - (number == 0)))
    networks = [arch for arch in dict.fromkeys([*extremes, *sampled]) if arch not in known][:count]
    return Sitting(networks=tuple(networks), with_overhead=number == 0)


def _used_blocks(index: BlockIndex, table: LatencyTable, rng: np.random.Generator) -> tuple[Block, ...]:
    """Blocks drawn in proportion to how often random architectures use them: the frequent ones first, over all resolutions."""
    usage = np.asarray(index.count(index.space.sample(rng, _NUM_SAMPLED)).sum(axis=0), dtype=np.float64)
    known = {entry.block for entry in table.blocks}
    usage *= [block not in known for block in index.blocks]
    count = min(SITTING_SIZE, int((usage > 0).sum()))
    if not count:
        return ()
    return tuple(index.blocks[place] for place in rng.choice(len(usage), count, replace=False, p=usage / usage.sum()))
