"""The latency predictor: a network takes as long as its blocks, and what a block takes is learned from networks and blocks
together.

    latency(network) = (call overhead + sum over blocks of cost(block) + effect of the resolution) * state of the sitting
    cost(block)      = features · (weights of all blocks + weights of its layer type) + traffic · weight of its variant
                       + costs on other devices · a weight of each

`features` are counts of work and traffic (`block_features.py`). Every measured network says something about all of its blocks;
a block measured alone says something about its own cost, up to what being alone changes (a graph of its own reads and writes
its ends), and the identity graph pins the overhead. All rows go into one regression that learns from the data how far each
group of weights may stray (`grouped_ridge.py`); what is minimised is the *relative* error.

So the table of blocks and the correction from whole networks are one model: with few networks the shared weights carry it, with
many the layer types do, and blocks count for as much as they agree with the networks. Leaving networks out one by one decides
whether the measured blocks help at all, and whether another device's costs do, which a few networks can scale and bend.

On public labels (`benchmarks/latency_prediction_ofa.py`) 30 networks give a mean error of about 1 %, gradient boosting on the
same features 5 %. Boosting what this model leaves over was tried and left out: it makes errors of up to 100 networks larger, and of
300 on one device of two; where cross-validation decides, it gains 0.01 points at most (`benchmarks/boosted_correction.py`).

A machine that others use as well is faster in one minute than in the next: graphs of one sitting share its state, a factor near
1. Predictions are for the middle one of the sittings, and what their factors spread is part of every interval, since the next
sitting has one too. Sittings of one minute are alike, so they cannot tell how far those of the next will be from them: at first
the spread is the usual one of such machines, and the more sittings there are, the more it is theirs (`_sitting_noise`).

Intervals are conformal (Vovk et al. 2005; jackknife: Barber et al. 2021): the leave-one-out errors, each divided by its
predicted spread, give the factor by which a predicted spread must be multiplied to hold 95 % of errors. They are taken on the
log scale. A network that was measured in several sittings is left out of all of them, and counts once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import block_diag
from scipy.special import stdtrit

from nat_deploy.errors import InputError
from nat_deploy.predictors.latency.block_costs import BlockCosts, CostTable, joined, of_blocks, of_call
from nat_deploy.predictors.latency.block_index import BlockIndex
from nat_deploy.predictors.latency.block_sum import BlockSumPredictor, fit_block_sum
from nat_deploy.predictors.latency.grouped_ridge import GroupedRidge, fit_grouped_ridge
from nat_deploy.predictors.latency.observations import (
    UNKNOWN_SITTING,
    Observations,
    measured_index,
    network_observations,
    table_observations,
)
from nat_deploy.predictors.latency.prediction import FloatArray, Prediction
from nat_deploy.predictors.latency.table import LatencyTable, Statistic
from nat_deploy.spaces import Genes, SearchSpace
from profilers.target import Target

COVERAGE = 0.95
MIN_NETWORKS = 5
FEW_NETWORKS = 60  # with more of its own, a device has nothing to learn from others
_RANGE_MARGIN = 0.05  # a network this much smaller or larger than all measured ones is still called inside
_NETWORKS_PER_FREEDOM = 5
_MARKED = 0.05  # a sitting that is faster or slower by more than this share calls for a second pass
_KEPT = 0.999  # share of the doubt about real networks that is kept
# What profiles of ten minutes on a shared CPU say of the states of sittings: their spread was 1.7, 1.7 and 2.3 % (the shipped tables);
# in the longest, neighbours differed by 1.6 %, those eight minutes apart by 3.8 %, and correlations added up to 6.6 sittings.
_USUAL_SPREAD = 0.02
_ALIKE_SITTINGS = 6
_PRIOR_SITTINGS = 2  # how many sittings that are not alike the usual spread counts for
_NETWORK, _BLOCK = 0, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class AdditivePredictor:
    """A fitted predictor; every architecture is a few look-ups and sums. Make it with `fit_predictor`."""

    index: BlockIndex  # of the space to predict for
    target: Target
    num_networks: int
    uses_blocks: bool
    sources: tuple["AdditivePredictor", ...]  # of other devices, whose costs are features of this one
    loo_mape: float  # of the networks, each predicted from all others and in the state of its sitting, as a share
    noise: float  # learned spread of a network's latency around the model, as a share
    measured_noise: float  # of the measurements of a usual network, as a share
    sitting_noise: float  # expected distance of the next sitting's state from what is predicted for, as a share
    spread_factor: float  # predicted spread times this is half an interval
    weights: FloatArray  # of the features, (num_features,)
    pixels: tuple[int, ...]  # resolutions that the features tell apart
    costs: CostTable  # latency in ms, and after it the directions of doubt about it; 1 + q quantities
    smallest_ms: float  # of the networks it was fitted on
    largest_ms: float

    def predict(self, genes: Genes) -> Prediction:
        """Latencies of architectures, genes of shape `(n, num_genes)`; they are brought to canonical form first."""
        value, doubts = self._value_and_doubts(genes)
        spread = np.sqrt(self.noise**2 + self.measured_noise**2 + self.sitting_noise**2 + (doubts**2).sum(axis=1))
        width = np.exp(np.minimum(self.spread_factor * spread, 3.0))
        return Prediction(value=value, low=value / width, high=value * width)

    def is_outside(self, genes: Genes) -> NDArray[np.bool_]:
        value, _ = self._value_and_doubts(genes)
        return np.asarray((value < self.smallest_ms * (1 - _RANGE_MARGIN)) | (value > self.largest_ms * (1 + _RANGE_MARGIN)))

    def doubts(self, genes: Genes) -> FloatArray:
        """How far the weights leave latencies open, as shares of them, shape `(n, q)`: the product of two rows is the covariance
        of the errors of two networks."""
        return self._value_and_doubts(genes)[1]

    def costs_in(self, index: BlockIndex) -> BlockCosts:
        """Latency in ms of the parts of any space with the same layers; one quantity."""
        return joined(_feature_groups(index, self.pixels, self.sources)) @ self.weights[:, None]

    def _value_and_doubts(self, genes: Genes) -> tuple[FloatArray, FloatArray]:
        sums = self.costs.sums(genes)
        # A cost far outside the measured range may come out negative; a latency cannot.
        value = np.maximum(sums[:, 0], self.smallest_ms / 100)
        return value, sums[:, 1:] / value[:, None]


def fit_predictor(
    index: BlockIndex,
    target: Target,
    observations: Observations,
    *,
    into: BlockIndex | None = None,
    sources: Sequence[AdditivePredictor] = (),
) -> AdditivePredictor:
    """Fit on measured graphs; blocks and sources are used only when leaving networks out shows that they help.

    Args:
        index: Of the space that was measured.
        target: Where it was measured.
        observations: What was measured.
        into: Of the space to predict for, when it is the same family with other classes or fewer resolutions.
        sources: Predictors of other devices for a space with the same layers; not asked when there are `FEW_NETWORKS` or more.

    Raises:
        InputError: There are fewer than `MIN_NETWORKS` networks.
    """
    if observations.num_networks < MIN_NETWORKS:
        raise InputError(
            f"a latency predictor needs at least {MIN_NETWORKS} measured networks, but there are {observations.num_networks}; "
            "profile the device for longer"
        )
    fits = [_fit(index, observations.pick(observations.is_network))]
    if not observations.is_network.all():
        fits.append(_fit(index, observations))
    best = min(fits, key=_Fit.loo_mape)
    if sources and observations.num_networks < FEW_NETWORKS:
        choices = [(source,) for source in sources] if len(sources) > 1 else []
        fits = [_fit(index, best.observations, chosen) for chosen in (*choices, tuple(sources))]
        best = min([best, *fits], key=_Fit.loo_mape)
    return _compiled(best, into or index, target)


def predictor_from_table(
    space: SearchSpace, table: LatencyTable, *, statistic: Statistic = "p25", sources: Sequence[LatencyTable] = ()
) -> AdditivePredictor | BlockSumPredictor:
    """The predictor that a table gives for a space; the table may be of another number of classes and of other resolutions.

    Args:
        sources: Tables of other targets for the same space, for a device of which few networks were measured.

    Raises:
        InputError: A table is of another space, or holds too few networks and too few blocks.
    """
    if table.space != space.name:
        raise InputError(f"the latency table must be of space '{space.name}', but it is of '{table.space}'; profile this space")
    if is_sum_of_blocks(table):
        return fit_block_sum(space, table, statistic=statistic)
    index = measured_index(space, table)
    others = [predictor_from_table(space, source, statistic=statistic) for source in sources]
    return fit_predictor(
        index,
        table.target,
        table_observations(index, table, statistic),
        into=BlockIndex(space),
        sources=[other for other in others if isinstance(other, AdditivePredictor)],
    )


def is_sum_of_blocks(table: LatencyTable) -> bool:
    """Whether blocks are all that the predictor of a table can go by: there are some, and too few whole networks."""
    return table.num_networks < MIN_NETWORKS and bool(table.blocks)


def fit_on_networks(
    index: BlockIndex, target: Target, genes: Genes, latency_ms: Sequence[float] | FloatArray
) -> AdditivePredictor:
    """A predictor from measured networks alone: genes `(n, num_genes)`, latencies `(n,)` in ms."""
    return fit_predictor(index, target, network_observations(index, genes, np.asarray(latency_ms, dtype=np.float64)))


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A regression on measured graphs.

    states  shape `(num_rows,)`: how much slower than in the middle one of all sittings the device was, as a share
    level   what the weights must be multiplied by to predict for the middle sitting
    """

    index: BlockIndex
    observations: Observations
    sources: tuple[AdditivePredictor, ...]
    ridge: GroupedRidge
    states: FloatArray
    level: float

    def log_errors(self) -> FloatArray:
        """Log of measured over predicted for each measured network, predicted from all other graphs; shape `(num_rows,)`."""
        rows = self.observations.is_network
        predicted = self.ridge.targets[rows] - self.ridge.loo_residuals[rows]
        return np.asarray(np.log(self.ridge.targets[rows] / np.maximum(predicted, 1e-3)))

    def per_network(self, values: FloatArray) -> FloatArray:
        """Means of what was found out about each measurement of a network, shape `(num_networks,)`."""
        _, network = np.unique(self.observations.graphs[self.observations.is_network], return_inverse=True)
        return np.asarray(np.bincount(network, values) / np.bincount(network))

    def loo_mape(self) -> float:
        return float(self.per_network(np.abs(np.expm1(-self.log_errors()))).mean())


def _feature_groups(index: BlockIndex, pixels: Sequence[int], sources: Sequence[AdditivePredictor]) -> list[BlockCosts]:
    """What latencies are made of: size, blocks to launch, features shared, by layer type and by variant, the call, the
    resolution; and first of all, where there are sources, the latency on each."""
    resolution = BlockCosts(
        blocks=np.zeros((len(index.blocks), len(pixels))),
        call=np.zeros(len(pixels)),
        resolutions=np.equal.outer(index.space.resolutions, pixels).astype(np.float64),
    )
    launch = np.ones((len(index.blocks), 1))
    additive = (index.size, launch, index.features, index.features_by_type, index.traffic_by_variant)
    groups = [*(of_blocks(index, group) for group in additive), of_call(index), resolution]
    return [joined([source.costs_in(index) for source in sources]), *groups] if sources else groups


def _fit(index: BlockIndex, observations: Observations, sources: tuple[AdditivePredictor, ...] = ()) -> _Fit:
    features = _feature_groups(index, index.space.resolutions, sources)
    graphs = [group.of_graphs(index, observations.counts, observations.resolutions) for group in features]
    alone = ~observations.is_network
    if alone.any():
        graphs.append(observations.counts @ index.features * alone[:, None])  # being alone changes what a block costs
    columns = _sittings(observations)
    usual_ms = _usual_ms(index, observations)

    def fitted(paces: FloatArray) -> tuple[GroupedRidge, FloatArray]:
        """The regression on latencies divided by `paces`, shape `(num_rows,)`, and what it says their paces are after all."""
        groups = [group / usual_ms[:, None] for group in graphs]
        ridge = fit_grouped_ridge(
            # A factor of 1 + d on a latency near `usual_ms` is, to first order, d more on the relative scale.
            [*groups, columns] if columns.shape[1] else groups,
            observations.latency_ms / paces / usual_ms,
            kinds=np.where(alone, _BLOCK, _NETWORK),
            known_noise=observations.relative_noise * observations.latency_ms / paces / usual_ms,
            together=observations.graphs,
        )
        return ridge, paces * (1 + columns @ ridge.weights[len(ridge.weights) - columns.shape[1] :])

    ridge, paces = fitted(np.ones(len(usual_ms)))
    if columns.shape[1]:
        weights = ridge.weights[: len(ridge.weights) - columns.shape[1]]
        ratios = observations.latency_ms / np.maximum(np.concatenate(graphs, axis=1) @ weights, usual_ms / 2)
        rough = _middle_of_sitting(ratios, observations)
        if np.abs(rough - 1).max() > _MARKED:
            ridge, paces = fitted(rough)
    level = _middle_pace(paces, observations)
    return _Fit(index=index, observations=observations, sources=sources, ridge=ridge, states=paces / level - 1, level=level)


def _middle_of_sitting(ratios: FloatArray, observations: Observations) -> FloatArray:
    """Median of the ratios of the networks of each row's sitting, shape `(num_rows,)`; 1 where there are none."""
    middle = np.ones(len(ratios))
    for number in np.unique(observations.sittings[observations.is_network]):
        rows = observations.sittings == number
        middle[rows] = np.median(ratios[rows & observations.is_network])
    return middle


def _middle_pace(paces: FloatArray, observations: Observations) -> float:
    """Pace of the middle one of the sittings with networks."""
    _, first_of_sitting = np.unique(observations.sittings[observations.is_network], return_index=True)
    return float(np.median(paces[observations.is_network][first_of_sitting]))


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


def _sittings(observations: Observations) -> FloatArray:
    """Which sitting each graph belongs to, as columns `(n, num_sittings)` whose rows add up to nothing: what all sittings share
    belongs to the networks.

    None where there is one sitting only; and none of blocks alone, since nothing would tell its state from what being alone
    changes.
    """
    numbers = np.unique(observations.sittings[observations.is_network])
    if len(numbers) < 2:
        return np.zeros((len(observations.sittings), 0))
    belongs = np.equal.outer(observations.sittings, numbers)
    return np.asarray(belongs - belongs.any(axis=1, keepdims=True) / len(numbers))


def _compiled(fit: _Fit, index: BlockIndex, target: Target) -> AdditivePredictor:
    """Costs of the parts of `index` from weights that were fitted on another space with the same layers."""
    ridge, observations = fit.ridge, fit.observations
    features = joined(_feature_groups(index, fit.index.space.resolutions, fit.sources))
    num_features = len(features.call)
    weights = fit.level * ridge.weights[:num_features]
    costs = features @ np.column_stack([weights, fit.level * ridge.factor[:num_features]])
    rows = observations.is_network
    in_common_ms = observations.latency_ms[rows] / (1 + fit.states[rows])
    numbers, first_of_sitting = np.unique(observations.sittings[rows], return_index=True)
    is_known = numbers != UNKNOWN_SITTING
    return AdditivePredictor(
        index=index,
        target=target,
        num_networks=observations.num_networks,
        uses_blocks=not rows.all(),
        sources=fit.sources,
        loo_mape=fit.loo_mape(),
        noise=float(ridge.noise[_NETWORK]),
        measured_noise=float(np.median(observations.relative_noise[rows])),
        sitting_noise=_sitting_noise(fit.states[rows][first_of_sitting][is_known]),
        spread_factor=_conformal_factor(fit.per_network(np.abs(fit.log_errors()) / ridge.loo_std[rows])),
        weights=weights,
        pixels=fit.index.space.resolutions,
        costs=CostTable.of(index, costs @ _main_directions(index, costs)),
        smallest_ms=float(in_common_ms.min()),
        largest_ms=float(in_common_ms.max()),
    )


def _sitting_noise(states: FloatArray) -> float:
    """How far the next sitting's state is expected to be from the middle one, as a share, from states of shape `(m,)`; 0 where
    there are none: labels of no sitting are as those to be predicted.

    The variance is the mean of what is usual and what was seen, each weighted by how many sittings it is worth (the mean of a
    scaled inverse chi-squared prior; Gelman et al. 2013, chapter 3); the middle one is uncertain by its share of it. Sittings that
    are alike may all have been of one good minute and are worth few; that they differ more than usual, each of them shows.
    """
    if not len(states):
        return 0.0
    unlike = 1 + (len(states) - 1) / _ALIKE_SITTINGS
    seen = float((states**2).sum()) / max(len(states) - 1, 1)
    worth = len(states) - 1 if seen > _USUAL_SPREAD**2 else unlike - 1
    variance = (_PRIOR_SITTINGS * _USUAL_SPREAD**2 + worth * seen) / (_PRIOR_SITTINGS + worth)
    return math.sqrt(variance * (1 + 1 / unlike))


def _main_directions(index: BlockIndex, costs: BlockCosts) -> FloatArray:
    """What keeps the first quantity and brings the others down to the few directions that carry the doubt about real networks,
    shape `(1 + p, 1 + q)`: predicting is then as fast as a look-up."""
    genes = index.space.sample(np.random.default_rng(0), 400)
    doubts = costs.of_graphs(index, index.count(genes), genes[:, 0])[:, 1:]
    doubts /= np.linalg.norm(doubts, axis=1, keepdims=True) + 1e-300
    # Not by singular values: LAPACK's fast way to them has failed to converge on doubts of a real table.
    sizes, directions = np.linalg.eigh(doubts.T @ doubts)
    sizes, directions = np.maximum(sizes[::-1], 0), directions[:, ::-1]
    kept = int(np.searchsorted(np.cumsum(sizes) / sizes.sum(), _KEPT)) + 1
    return np.asarray(block_diag(1.0, directions[:, :kept]))


def _conformal_factor(scores: FloatArray) -> float:
    """The factor that makes 95 % intervals of predicted spreads, from errors divided by their predicted spreads, shape `(n,)`.

    Group strengths were learned from the same networks, which makes leave-one-out errors of few networks too small: a Student-t
    factor is the least that is used. Its degrees of freedom were chosen on public labels.
    """
    scores = np.sort(scores)
    rank = min(math.ceil((len(scores) + 1) * COVERAGE), len(scores))
    return float(max(scores[rank - 1], stdtrit(len(scores) / _NETWORKS_PER_FREEDOM, (1 + COVERAGE) / 2)))
