"""The predictor of a table of blocks on which hardly a whole network was measured: published tables, or a phone measured by hand.

    latency(network) = (call overhead + sum over blocks of cost(block)) * level
    cost(block)      = what was measured, without the overhead; where nothing was, features · weights

The weights are fitted on the measured blocks (`grouped_ridge.py`), and leaving blocks out one by one says how far they can be
trusted: each block that was not measured widens the interval by that much, and as alike blocks err alike, their errors add up.

That a network takes as long as its blocks is a belief here and not a finding: every interval is widened by an allowance for it,
a fifth. On one CPU with ONNX Runtime, networks of `ofa-mbv3-w1.0` took 16 % longer than their blocks, whose weights stay in the
cache when they run alone, and small ones of `ofa-mbv3-w0.5` 3 % less. The few networks that were measured move the level
from 1 towards what they say, and narrow the allowance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import InputError
from nat_deploy.predictors.latency.block_features import (
    block_features,
    block_size,
    block_traffic,
    features_by_type,
    layer_types,
    traffic_by_variant,
)
from nat_deploy.predictors.latency.block_index import BlockIndex
from nat_deploy.predictors.latency.grouped_ridge import GroupedRidge, fit_grouped_ridge
from nat_deploy.predictors.latency.prediction import FloatArray, Prediction
from nat_deploy.predictors.latency.table import LatencyTable, Statistic, Timing
from nat_deploy.spaces import Block, Genes, SearchSpace, make_space
from profilers.target import Target

MIN_BLOCKS = 10
LEVEL_SPREAD = 0.10  # standard deviation, as a share, of whole networks against the sum of their blocks: the allowance
NETWORK_SPREAD = 0.03  # what remains of it from one network to the next when the level is known
_COVERAGE, _Z95 = 0.95, 1.96
_RANGE_MARGIN = 0.05  # a block that moves this much less or more than all measured ones of its type is still called known
_UNKNOWN_SHARE = 0.1  # a network is outside when so much of its latency lies in blocks that are not
_LEAST_SHARE = 0.01  # of a block alone that is not overhead


@dataclass(frozen=True, kw_only=True)
class BlockSumPredictor:
    """A fitted predictor; every architecture is a few look-ups and sums. Make it with `fit_block_sum`."""

    index: BlockIndex
    target: Target
    num_networks: int  # measured ones, which set the level
    num_measured: int  # blocks of the space that the table holds; the others are interpolated
    loo_mape: float  # of the measured blocks, each predicted from the others, as a share
    block_ms: FloatArray  # cost of every block without the overhead, (num_blocks,)
    block_half_ms: FloatArray  # half the 95 % interval of each, (num_blocks,)
    is_unknown: NDArray[np.bool_]  # blocks unlike all measured ones, (num_blocks,)
    overhead_ms: float
    log_level: float  # of whole networks over the sums of their blocks, as far as networks tell
    log_level_spread: float  # standard deviation of what is believed of it

    @property
    def level(self) -> float:
        return math.exp(self.log_level)

    @property
    def allowance(self) -> float:
        """Half the 95 % interval of the log of one more network over its sum: what is allowed for blocks not adding up."""
        return _Z95 * math.hypot(self.log_level_spread, NETWORK_SPREAD)

    def after(self, genes: Genes, measured_ms: FloatArray) -> "BlockSumPredictor":
        """The predictor when whole networks were measured: genes `(n, num_genes)`, latencies `(n,)`.

        The level is the mean of a normal belief, around 1 before anything was measured.
        """
        logs = np.log(measured_ms / (self.overhead_ms + self._sums(genes)[:, 0]))
        weight, one = self.log_level_spread**-2, NETWORK_SPREAD**-2
        precision = weight + len(logs) * one
        return replace(
            self,
            num_networks=self.num_networks + len(logs),
            log_level=float((weight * self.log_level + one * logs.sum()) / precision),
            log_level_spread=precision**-0.5,
        )

    def predict(self, genes: Genes) -> Prediction:
        """Latencies of architectures, genes of shape `(n, num_genes)`; they are brought to canonical form first."""
        sums = self._sums(genes)
        value = self.overhead_ms + sums[:, 0]
        width = np.exp(np.minimum(np.hypot(self.allowance, sums[:, 1] / value), 3.0))
        value = self.level * value
        return Prediction(value=value, low=value / width, high=value * width)

    def is_outside(self, genes: Genes) -> NDArray[np.bool_]:
        sums = self._sums(genes)
        return np.asarray(sums[:, 2] > _UNKNOWN_SHARE * (self.overhead_ms + sums[:, 0]))

    def _sums(self, genes: Genes) -> FloatArray:
        """Cost, half-width and cost of unknown blocks of each network, `(n, 3)`."""
        columns = np.column_stack([self.block_ms, self.block_half_ms, self.block_ms * self.is_unknown])
        return np.asarray(self.index.count(np.asarray(genes, dtype=np.int64)) @ columns)


def fit_block_sum(space: SearchSpace, table: LatencyTable, *, statistic: Statistic = "p25") -> BlockSumPredictor:
    """Costs of all blocks of a space from the measured blocks of a table, whose resolutions and classes may be others.

    Raises:
        InputError: The table holds fewer than `MIN_BLOCKS` different blocks.
    """
    measured = measured_blocks(table, statistic)
    sums = _sums_of_blocks(space, table, measured)
    if not table.networks:
        return sums
    resolutions = tuple(sorted({entry.architecture.resolution for entry in table.networks}))
    of_networks = make_space(table.space, resolutions=resolutions, num_classes=table.num_classes)
    taught = _sums_of_blocks(of_networks, table, measured).after(
        np.stack([of_networks.encode(entry.architecture) for entry in table.networks]),
        np.array([entry.timing.value_ms(statistic) for entry in table.networks]),
    )
    return replace(sums, num_networks=taught.num_networks, log_level=taught.log_level, log_level_spread=taught.log_level_spread)


def _sums_of_blocks(space: SearchSpace, table: LatencyTable, measured: "MeasuredBlocks") -> BlockSumPredictor:
    """The predictor of a space as it is before any network is known."""
    index = BlockIndex(space)
    fit = fit_blocks(measured, index.blocks)
    return BlockSumPredictor(
        index=index,
        target=table.target,
        num_networks=0,
        num_measured=len(set(measured.blocks) & set(index.blocks)),
        loo_mape=float(np.abs(fit.ridge.loo_residuals).mean()),
        block_ms=fit.cost_ms,
        block_half_ms=fit.half_ms,
        is_unknown=_are_unknown(measured.blocks, index.blocks),
        overhead_ms=measured.overhead_ms,
        log_level=0.0,
        log_level_spread=LEVEL_SPREAD,
    )


@dataclass(frozen=True, kw_only=True)
class MeasuredBlocks:
    """The different blocks of a table: what each took alone, the overhead in it, with half its 95 % interval; arrays of shape `(n,)`."""

    blocks: tuple[Block, ...]
    alone_ms: FloatArray
    half_ms: FloatArray
    overhead_ms: float

    @property
    def cost_ms(self) -> FloatArray:
        """Without the overhead; never less than a small share, since noise may make a block faster than a graph that does nothing."""
        return np.maximum(self.alone_ms - self.overhead_ms, _LEAST_SHARE * self.alone_ms)


def measured_blocks(table: LatencyTable, statistic: Statistic) -> MeasuredBlocks:
    """The blocks of a table, those measured several times by the median of their measurements.

    Raises:
        InputError: There are fewer than `MIN_BLOCKS`.
    """
    timings: dict[Block, list[Timing]] = {}
    for entry in table.blocks:
        timings.setdefault(entry.block, []).append(entry.timing)
    if len(timings) < MIN_BLOCKS:
        raise InputError(
            f"a latency predictor without whole networks needs at least {MIN_BLOCKS} different blocks, but there are "
            f"{len(timings)}; measure more blocks, or 5 networks"
        )
    intervals = [[timing.interval_ms(statistic) for timing in of_block] for of_block in timings.values()]
    overheads = [entry.timing.value_ms(statistic) for entry in table.overheads]
    return MeasuredBlocks(
        blocks=tuple(timings),
        alone_ms=np.array([np.median([timing.value_ms(statistic) for timing in of_block]) for of_block in timings.values()]),
        half_ms=np.array([np.median([(high - low) / 2 for low, high in of_block]) for of_block in intervals]),
        overhead_ms=float(np.median(overheads)) if overheads else 0.0,
    )


@dataclass(frozen=True, kw_only=True)
class BlockFit:
    """Costs of wanted blocks with half their 95 % intervals, shape `(num_wanted,)`, and the regression that interpolated them.

    Targets and residuals of the regression are shares of what a block took alone.
    """

    ridge: GroupedRidge
    cost_ms: FloatArray
    half_ms: FloatArray


def fit_blocks(measured: MeasuredBlocks, wanted: Sequence[Block]) -> BlockFit:
    """What the wanted blocks cost: as measured, or else interpolated by their features."""
    num_measured = len(measured.blocks)
    groups = _groups((*measured.blocks, *wanted))
    ridge = fit_grouped_ridge(
        [group[:num_measured] / measured.alone_ms[:, None] for group in groups],
        measured.cost_ms / measured.alone_ms,
        kinds=np.zeros(num_measured, dtype=np.int64),
        known_noise=measured.half_ms / _Z95 / measured.alone_ms,
    )
    design = np.concatenate(groups, axis=1)[num_measured:]
    least = float(measured.cost_ms.min()) / 2  # a line far from its points may fall below zero; a latency cannot
    cost_ms = np.maximum(design @ ridge.weights, least)
    spread = np.hypot(ridge.noise[0] * (cost_ms + measured.overhead_ms), np.linalg.norm(design @ ridge.factor, axis=1))
    half_ms = _conformal_factor(ridge) * spread
    places = {block: place for place, block in enumerate(measured.blocks)}
    for row, block in enumerate(wanted):
        if block in places:
            cost_ms[row], half_ms[row] = measured.cost_ms[places[block]], measured.half_ms[places[block]]
    return BlockFit(ridge=ridge, cost_ms=cost_ms, half_ms=half_ms)


def _groups(blocks: Sequence[Block]) -> list[FloatArray]:
    features = block_features(blocks)
    return [block_size(blocks, features), features, features_by_type(blocks, features), traffic_by_variant(blocks, features)]


def _conformal_factor(ridge: GroupedRidge) -> float:
    """Predicted spreads times this hold 95 % of the errors on blocks left out."""
    return max(_Z95, float(np.quantile(np.abs(ridge.loo_residuals) / ridge.loo_std, _COVERAGE)))


def _are_unknown(measured: Sequence[Block], blocks: Sequence[Block]) -> NDArray[np.bool_]:
    """Whether each block moves less or more than all measured ones of its layer type, or is of a type of its own; `(num_blocks,)`."""
    together = (*measured, *blocks)
    types, traffic = layer_types(together), block_traffic(block_features(together))
    known = np.arange(len(together)) < len(measured)
    unknown = np.ones(len(together), dtype=np.bool_)
    for kind in np.unique(types[known]):
        of_kind = types == kind
        low, high = traffic[of_kind & known].min(), traffic[of_kind & known].max()
        unknown[of_kind] = (traffic[of_kind] < low * (1 - _RANGE_MARGIN)) | (traffic[of_kind] > high * (1 + _RANGE_MARGIN))
    return unknown[len(measured) :]
