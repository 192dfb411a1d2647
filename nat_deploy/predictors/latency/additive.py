"""The latency predictor: a network takes as long as its blocks, and what a block takes is learned from networks and blocks
together.

    latency(network) = (call overhead + sum over blocks of cost(block) + effect of the resolution) * state of the sitting
    cost(block)      = features · (weights of all blocks + weights of its layer type) + traffic · weight of its variant

`features` are counts of work and traffic (`block_features.py`). Every measured network says something about all of its blocks;
a block measured alone says something about its own cost, up to what being alone changes (a graph of its own reads and writes
its ends), and the identity graph pins the overhead. All rows go into one regression that learns from the data how far each
group of weights may stray (`grouped_ridge.py`); what is minimised is the *relative* error.

So the table of blocks and the correction from whole networks are one model: with few networks the shared weights carry it, with
many the layer types do, and blocks count for as much as they agree with the networks. Leaving networks out one by one decides
whether the measured blocks help at all.

On public labels (`benchmarks/latency_prediction_ofa.py`) 30 networks give a mean error of about 1 %, gradient boosting on the
same features 5 %.

A machine that others use as well is faster in one minute than in the next: graphs of one sitting share its state, a factor near
1, and what the factors of the sittings spread is part of every interval, since the next sitting has one too.

Intervals are conformal (Vovk et al. 2005; jackknife: Barber et al. 2021): the leave-one-out errors, each divided by its
predicted spread, give the factor by which a predicted spread must be multiplied to hold 95 % of errors. They are taken on the
log scale.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats
from scipy.special import stdtrit

from nat_deploy.errors import InputError
from nat_deploy.predictors.latency.block_index import BlockIndex
from nat_deploy.predictors.latency.block_sum import BlockSumPredictor, fit_block_sum
from nat_deploy.predictors.latency.grouped_ridge import GroupedRidge, fit_grouped_ridge
from nat_deploy.predictors.latency.prediction import FloatArray, Prediction
from nat_deploy.predictors.latency.table import BlockEntry, LatencyTable, NetworkEntry, OverheadEntry, Statistic, Timing
from nat_deploy.spaces import Genes, SearchSpace, make_space
from profilers.target import Target

COVERAGE = 0.95
MIN_NETWORKS = 5
_RANGE_MARGIN = 0.05  # a network this much smaller or larger than all measured ones is still called inside
_Z95 = 1.96
_NETWORKS_PER_FREEDOM = 5
_MIN_SITTINGS = 3
_NETWORK, _BLOCK = 0, 1


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Measured graphs of one space as arrays: networks first, blocks and identity graphs after them.

    counts          shape `(n, num_blocks)`: which blocks of the space a graph holds
    resolutions     shape `(n,)`: place of the resolution in the space; -1 for a block
    latency_ms      shape `(n,)`
    relative_noise  shape `(n,)`: standard deviation of each measurement as a share of it, as far as it is known
    sittings        shape `(n,)`: number of the sitting that a graph was measured in
    """

    counts: sparse.csr_array
    resolutions: NDArray[np.int64]
    latency_ms: FloatArray
    relative_noise: FloatArray
    sittings: NDArray[np.int64]

    @property
    def is_network(self) -> NDArray[np.bool_]:
        return self.resolutions >= 0

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
    """Observations of whole networks alone, their latencies of shape `(n,)` and of unknown noise."""
    return Observations(
        counts=index.count(genes),
        resolutions=genes[:, 0],
        latency_ms=latency_ms,
        relative_noise=np.zeros(len(genes)),
        sittings=np.zeros(len(genes), dtype=np.int64),
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


def _relative_noise(timing: Timing, statistic: Statistic) -> float:
    low, high = timing.interval_ms(statistic)
    return math.log(high / low) / 2 / _Z95


def _block_groups(index: BlockIndex) -> list[FloatArray]:
    """Features that add up over blocks: size, shared, by layer type, by variant; each `(num_blocks, p)`."""
    return [index.size, index.features, index.features_by_type, index.traffic_by_variant]


def _graph_groups(index: BlockIndex, observations: Observations) -> list[FloatArray]:
    """Features of measured graphs: those of their blocks, the call overhead, the resolution, and, for blocks, being alone; each
    `(n, p)`."""
    additive = [observations.counts @ group for group in _block_groups(index)]
    at = observations.resolutions[:, None] == np.arange(len(index.space.resolutions))
    groups = [*additive, np.ones((len(at), 1)), at * (observations.counts @ index.traffic)[:, None]]
    alone = ~observations.is_network
    return [*groups, additive[1] * alone[:, None]] if alone.any() else groups


def _sitting_states(observations: Observations) -> FloatArray:
    """Which sitting each graph belongs to, as columns `(n, num_sittings)`; none where there are too few to tell their states from the rest."""
    numbers = np.unique(observations.sittings)
    if len(numbers) < _MIN_SITTINGS:
        return np.zeros((len(observations.sittings), 0))
    return np.asarray(observations.sittings[:, None] == numbers, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class AdditivePredictor:
    """A fitted predictor; every architecture is a few look-ups and sums. Make it with `fit_predictor`."""

    index: BlockIndex
    target: Target
    num_networks: int
    uses_blocks: bool
    loo_mape: float  # of the networks, each predicted from all other measurements, as a share
    noise: float  # learned spread of a network's latency around the model, as a share
    measured_noise: float  # of the measurements of a usual network, as a share
    sitting_noise: float  # spread of the states of the sittings, as a share
    spread_factor: float  # predicted spread times this is half an interval
    block_ms: FloatArray  # cost of every block, (num_blocks,)
    overhead_ms: float
    resolution_ms: FloatArray  # ms per value moved, (num_resolutions,)
    block_spread: FloatArray  # the same three as directions of doubt, (num_blocks, q), (q,), (num_resolutions, q)
    overhead_spread: FloatArray
    resolution_spread: FloatArray
    smallest_ms: float  # of the networks it was fitted on
    largest_ms: float

    def predict(self, genes: Genes) -> Prediction:
        """Latencies of architectures, genes of shape `(n, num_genes)`; they are brought to canonical form first."""
        value, doubt = self._value_and_doubt(genes)
        spread = np.sqrt(self.noise**2 + self.measured_noise**2 + self.sitting_noise**2 + (doubt / value) ** 2)
        width = np.exp(np.minimum(self.spread_factor * spread, 3.0))
        return Prediction(value=value, low=value / width, high=value * width)

    def is_outside(self, genes: Genes) -> NDArray[np.bool_]:
        value, _ = self._value_and_doubt(genes)
        return np.asarray((value < self.smallest_ms * (1 - _RANGE_MARGIN)) | (value > self.largest_ms * (1 + _RANGE_MARGIN)))

    def _value_and_doubt(self, genes: Genes) -> tuple[FloatArray, FloatArray]:
        genes = np.asarray(genes, dtype=np.int64)
        columns = np.column_stack([self.block_ms, self.index.traffic, self.block_spread])
        sums = self.index.count(genes) @ columns
        rows = genes[:, 0]
        value = self.overhead_ms + sums[:, 0] + sums[:, 1] * self.resolution_ms[rows]
        doubt = self.overhead_spread + sums[:, 2:] + sums[:, 1:2] * self.resolution_spread[rows]
        # A cost far outside the measured range may come out negative; a latency cannot.
        return np.maximum(value, self.smallest_ms / 100), np.linalg.norm(doubt, axis=1)


def fit_predictor(
    index: BlockIndex, target: Target, observations: Observations, *, into: BlockIndex | None = None
) -> AdditivePredictor:
    """Fit on measured graphs; blocks are used only when leaving networks out shows that they help.

    Args:
        index: Of the space that was measured.
        target: Where it was measured.
        observations: What was measured.
        into: Of the space to predict for, when it is the same family with other classes or fewer resolutions.

    Raises:
        InputError: There are fewer than `MIN_NETWORKS` networks.
    """
    num_networks = int(observations.is_network.sum())
    if num_networks < MIN_NETWORKS:
        raise InputError(
            f"a latency predictor needs at least {MIN_NETWORKS} measured networks, but there are {num_networks}; "
            "profile the device for longer"
        )
    choices = [observations.pick(observations.is_network)]
    if num_networks < len(observations.resolutions):
        choices.append(observations)
    fits = [(_fit(index, chosen), chosen) for chosen in choices]
    fit, chosen = min(fits, key=lambda pair: _loo_mape(pair[0], pair[1]))
    return _compile(index, into or index, target, fit, chosen)


def predictor_from_table(
    space: SearchSpace, table: LatencyTable, *, statistic: Statistic = "p25"
) -> AdditivePredictor | BlockSumPredictor:
    """The predictor that a table gives for a space; the table may be of another number of classes and of other resolutions.

    Raises:
        InputError: The table is of another space, or holds too few networks and too few blocks.
    """
    if table.space != space.name:
        raise InputError(f"the latency table must be of space '{space.name}', but it is of '{table.space}'; profile this space")
    if is_sum_of_blocks(table):
        return fit_block_sum(space, table, statistic=statistic)
    index = measured_index(space, table)
    return fit_predictor(index, table.target, table_observations(index, table, statistic), into=BlockIndex(space))


def is_sum_of_blocks(table: LatencyTable) -> bool:
    """Whether blocks are all that the predictor of a table can go by: there are some, and too few whole networks."""
    return len(table.networks) < MIN_NETWORKS and bool(table.blocks)


def measured_index(space: SearchSpace, table: LatencyTable) -> BlockIndex:
    """Blocks of everything that is in the table or in the space."""
    measured = {entry.architecture.resolution for entry in table.networks}
    resolutions = tuple(sorted({*space.resolutions, *measured}))
    return BlockIndex(make_space(table.space, resolutions=resolutions, num_classes=table.num_classes))


def _fit(index: BlockIndex, observations: Observations) -> GroupedRidge:
    usual = _usual_ms(index, observations)
    groups = [group / usual[:, None] for group in _graph_groups(index, observations)]
    # A factor of 1 + d on a latency near `usual` is, to first order, d more on the relative scale.
    states = _sitting_states(observations)
    return fit_grouped_ridge(
        [*groups, states] if states.shape[1] else groups,
        observations.latency_ms / usual,
        kinds=np.where(observations.is_network, _NETWORK, _BLOCK),
        known_noise=observations.relative_noise * observations.latency_ms / usual,
    )


def _usual_ms(index: BlockIndex, observations: Observations) -> FloatArray:
    """What relative errors are relative to, shape `(n,)`: a power law of the traffic through the networks, since a noisy
    latency itself would give the rows that came out too fast too much weight. Graphs of one block are relative to
    themselves."""
    rows = observations.is_network
    moved = np.log((observations.counts @ index.traffic)[rows])
    log_ms = np.log(observations.latency_ms[rows])
    # Theil and Sen's line: a few wild latencies do not move it.
    slope = stats.theilslopes(log_ms, moved).slope if np.ptp(moved) > 0 else 0.0
    usual = observations.latency_ms.copy()
    usual[rows] = np.exp(np.median(log_ms - slope * moved) + slope * moved)
    return usual


def _log_errors(fit: GroupedRidge, observations: Observations) -> FloatArray:
    """Log of measured over predicted for each network, predicted from all other graphs; shape `(num_networks,)`."""
    rows = observations.is_network
    predicted = fit.targets[rows] - fit.loo_residuals[rows]
    return np.asarray(np.log(fit.targets[rows] / np.maximum(predicted, 1e-3)))


def _loo_mape(fit: GroupedRidge, observations: Observations) -> float:
    return float(np.abs(np.expm1(-_log_errors(fit, observations))).mean())


def _compile(
    fitted: BlockIndex, index: BlockIndex, target: Target, fit: GroupedRidge, observations: Observations
) -> AdditivePredictor:
    """Costs of the blocks of `index` from weights that were fitted on the blocks of `fitted`, a space with the same layers."""
    groups = _block_groups(index)
    sizes = [*(group.shape[1] for group in groups), 1, len(fitted.space.resolutions)]
    *of_blocks, overhead, resolution, _ = np.split(np.column_stack([fit.weights, fit.factor]), np.cumsum(sizes))
    resolution = resolution[[fitted.space.resolutions.index(pixels) for pixels in index.space.resolutions]]
    costs = np.column_stack(groups) @ np.concatenate(of_blocks)
    rows = observations.is_network
    latency = observations.latency_ms[rows]
    measured_noise = float(np.median(observations.relative_noise[rows]))
    num_states = _sitting_states(observations).shape[1]
    directions = _main_directions(index, costs[:, 1:], overhead[0, 1:], resolution[:, 1:])
    return AdditivePredictor(
        index=index,
        target=target,
        num_networks=int(rows.sum()),
        uses_blocks=bool((~rows).any()),
        loo_mape=_loo_mape(fit, observations),
        noise=float(fit.noise[_NETWORK]),
        measured_noise=measured_noise,
        sitting_noise=float(np.sqrt(np.mean(fit.weights[-num_states:] ** 2))) if num_states else 0.0,
        spread_factor=_conformal_factor(np.abs(_log_errors(fit, observations)) / fit.loo_std[rows]),
        block_ms=costs[:, 0],
        overhead_ms=float(overhead[0, 0]),
        resolution_ms=resolution[:, 0],
        block_spread=costs[:, 1:] @ directions,
        overhead_spread=overhead[0, 1:] @ directions,
        resolution_spread=resolution[:, 1:] @ directions,
        smallest_ms=float(latency.min()),
        largest_ms=float(latency.max()),
    )


def _main_directions(index: BlockIndex, blocks: FloatArray, overhead: FloatArray, resolution: FloatArray) -> FloatArray:
    """The few directions that carry the doubt about real networks, shape `(p, q)`: predicting is then as fast as a look-up."""
    genes = index.space.sample(np.random.default_rng(0), 400)
    counts = index.count(genes)
    moved = counts @ index.traffic
    doubts = counts @ blocks + overhead + moved[:, None] * resolution[genes[:, 0]]
    doubts /= np.linalg.norm(doubts, axis=1, keepdims=True) + 1e-300
    # Not by singular values: LAPACK's fast way to them has failed to converge on doubts of a real table.
    sizes, directions = np.linalg.eigh(doubts.T @ doubts)
    sizes, directions = np.maximum(sizes[::-1], 0), directions[:, ::-1]
    kept = int(np.searchsorted(np.cumsum(sizes) / sizes.sum(), 0.999)) + 1
    return np.asarray(directions[:, :kept])


def _conformal_factor(scores: FloatArray) -> float:
    """The factor that makes 95 % intervals of predicted spreads, from errors divided by their predicted spreads, shape `(n,)`.

    Group strengths were learned from the same networks, which makes leave-one-out errors of few networks too small: a Student-t
    factor is the least that is used. Its degrees of freedom were chosen on public labels.
    """
    scores = np.sort(scores)
    rank = min(math.ceil((len(scores) + 1) * COVERAGE), len(scores))
    return float(max(scores[rank - 1], stdtrit(len(scores) / _NETWORKS_PER_FREEDOM, (1 + COVERAGE) / 2)))


def fit_on_networks(
    index: BlockIndex, target: Target, genes: Genes, latency_ms: Sequence[float] | FloatArray
) -> AdditivePredictor:
    """A predictor from measured networks alone: genes `(n, num_genes)`, latencies `(n,)` in ms."""
    return fit_predictor(index, target, network_observations(index, genes, np.asarray(latency_ms, dtype=np.float64)))
