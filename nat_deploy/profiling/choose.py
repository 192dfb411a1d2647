"""What to measure next: whole networks first and foremost, single blocks once, early."""

from dataclasses import dataclass

import numpy as np

from nat_deploy.predictors.latency import AdditivePredictor, BlockIndex, LatencyTable
from nat_deploy.predictors.latency.prediction import FloatArray
from nat_deploy.spaces import Architecture, Block, Genes, SearchSpace

SITTING_SIZE = 12
_SITTING_OF_BLOCKS = 2  # the third
_NUM_SAMPLED = 1000
_NUM_CANDIDATES = 500
_TELLING_SHARE = 2 / 3  # of a sitting's networks are chosen, the others drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """Graphs to be measured interleaved. The first network is the reference, which every sitting measures; `with_overhead` adds a
    graph that does nothing."""

    networks: tuple[Architecture, ...]
    blocks: tuple[Block, ...] = ()
    with_overhead: bool = False

    @property
    def num_graphs(self) -> int:
        return len(self.networks) + len(self.blocks) + self.with_overhead


def choose_sitting(
    index: BlockIndex, table: LatencyTable, predictor: AdditivePredictor | None, *, seed: int, num_networks: int
) -> Sitting:
    """The next sitting of a table; the same table and seed give the same sitting, so that a killed one can be taken up again.

    The first holds both extremes of the space, so that predictions lie between measured networks. Later, two thirds of the
    networks are those that tell the predictor most about random ones, and a third is drawn: by these the predictor's errors are
    known without favour. On public labels choosing makes errors up to a tenth smaller, on others nothing
    (`benchmarks/active_profiling.py`).

    The third sitting measures the blocks that random architectures use most. While networks are few, blocks tell more a second
    than they; later they tell nothing new.

    Args:
        predictor: Fitted on the table; None chooses at random.
        num_networks: Most networks that are new to the table, at least 1.
    """
    number = table.num_sittings
    rng = np.random.default_rng((seed, number))
    reference = reference_network(index.space)
    if number == _SITTING_OF_BLOCKS and not table.blocks:
        return Sitting(networks=(reference,), blocks=_used_blocks(index, rng))
    with_overhead = not table.overheads
    known = {entry.architecture for entry in table.networks}
    count = min(num_networks - (reference not in known), SITTING_SIZE - 1 - with_overhead)
    known.add(reference)
    extremes = [arch for arch in (index.space.smallest(), index.space.largest()) if not table.networks]
    telling = [] if predictor is None else _telling_networks(index.space, predictor, known, round(_TELLING_SHARE * count), rng)
    drawn = [index.space.decode(genes) for genes in index.space.sample(rng, 4 * SITTING_SIZE)]
    new = [arch for arch in dict.fromkeys([*extremes, *telling, *drawn]) if arch not in known]
    return Sitting(networks=(reference, *new[:count]), with_overhead=with_overhead)


def reference_network(space: SearchSpace) -> Architecture:
    """A network of middling size, always the same one for a space: measured again and again, it shows how far measurements of
    one network differ from sitting to sitting."""
    genes = space.sample(np.random.default_rng(0), _NUM_SAMPLED)
    by_size = np.argsort(space.count(genes).macs, kind="stable")
    return space.decode(genes[by_size[len(by_size) // 2]])


def _telling_networks(
    space: SearchSpace, predictor: AdditivePredictor, known: set[Architecture], count: int, rng: np.random.Generator
) -> list[Architecture]:
    """The random networks whose measurement leaves least doubt about other random networks."""
    candidates = [space.decode(genes) for genes in space.sample(rng, _NUM_CANDIDATES)]
    candidates = [arch for arch in dict.fromkeys(candidates) if arch not in known]
    others: Genes = space.sample(rng, _NUM_SAMPLED)
    chosen = choose_telling(
        predictor.doubts(np.array([space.encode(arch) for arch in candidates])),
        predictor.doubts(others),
        noise=float(np.hypot(predictor.noise, predictor.measured_noise)),
        count=count,
    )
    return [candidates[place] for place in chosen]


def choose_telling(candidates: FloatArray, others: FloatArray, *, noise: float, count: int) -> list[int]:
    """Places of the candidates whose measurements, one after the other, lower the mean variance of the others most.

    Args:
        candidates: `AdditivePredictor.doubts` of what could be measured, shape `(n, q)`.
        others: The same of what is to be predicted, shape `(m, q)`.
        noise: Standard deviation of a measurement, as a share.
        count: How many to choose, at most `n`.

    Source: greedy V-optimal design (Fedorov, Theory of Optimal Experiments, 1972).
    """
    chosen: list[int] = []
    for _ in range(min(count, len(candidates))):
        variance = (candidates**2).sum(axis=1) + noise**2
        gain = ((others @ candidates.T) ** 2).sum(axis=0) / variance
        gain[chosen] = -1
        best = int(gain.argmax())
        chosen.append(best)
        # Measured once, it takes its share of every doubt with it.
        seen = candidates[best] / np.sqrt(variance[best])
        share = (1 - np.sqrt(1 - seen @ seen)) / max(seen @ seen, 1e-300)
        candidates = candidates - share * np.outer(candidates @ seen, seen)
        others = others - share * np.outer(others @ seen, seen)
    return chosen


def _used_blocks(index: BlockIndex, rng: np.random.Generator) -> tuple[Block, ...]:
    """Blocks drawn in proportion to how often random architectures use them: the frequent ones first, over all resolutions."""
    usage = np.asarray(index.count(index.space.sample(rng, _NUM_SAMPLED)).sum(axis=0), dtype=np.float64)
    count = min(SITTING_SIZE - 1, int((usage > 0).sum()))
    return tuple(index.blocks[place] for place in rng.choice(len(usage), count, replace=False, p=usage / usage.sum()))
