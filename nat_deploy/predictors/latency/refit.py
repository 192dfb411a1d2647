"""A predictor that goes with the device: one fit on a table and on what was measured since.

What a search measures says two things: how fast networks are that the table has not seen, and how fast the device is today, which
other tenants, clocks or heat may have changed for good since the table was made. So later sittings are first brought to the table's
level, then all is fitted together, and predictions are multiplied by today's level: that of the newest sittings.

The level is the middle ratio of measured latencies to those that the table predicts, believed as far as it stands out from what
sittings vary anyway and from what the table does not know: of an unremarkable ratio nothing is left, a large one counts fully (James
and Stein's estimator, positive part; Efron and Morris 1973).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nat_deploy.predictors.latency.additive import MIN_NETWORKS, AdditivePredictor, fit_predictor, predictor_from_table
from nat_deploy.predictors.latency.block_index import BlockIndex
from nat_deploy.predictors.latency.block_sum import BlockSumPredictor
from nat_deploy.predictors.latency.observations import Observations, measured_index, table_observations
from nat_deploy.predictors.latency.prediction import FloatArray, LatencyPredictor, Prediction
from nat_deploy.predictors.latency.table import LatencyTable, Statistic
from nat_deploy.spaces import Genes, SearchSpace
from profilers.target import Target

_Z95 = 1.96
_NEWEST = 3  # a lasting change shows after two sittings of them, a single odd sitting never
_STRAYED = 3.0  # standard deviations from today's level beyond which a sitting says nothing about how much sittings vary


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSitting:
    """Networks measured interleaved on one target: genes `(n, num_genes)` with `n >= 1`; latencies and the ends of their 95 %
    intervals in ms of one batch, each `(n,)`."""

    genes: Genes
    value_ms: FloatArray
    low_ms: FloatArray
    high_ms: FloatArray

    def __post_init__(self) -> None:
        if not 0 < len(self.genes) == len(self.value_ms) == len(self.low_ms) == len(self.high_ms):
            raise ValueError("a sitting needs at least one network, and for each a latency with both ends of its interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelledPredictor:
    """A predictor of the table's level, times the level of the device in the newest sittings.

    level   1 is the table's
    doubt   standard deviation of the level's logarithm; part of every interval
    """

    predictor: LatencyPredictor
    level: float
    doubt: float

    @property
    def target(self) -> Target:
        return self.predictor.target

    def predict(self, genes: Genes) -> Prediction:
        """Latencies of architectures, genes of shape `(n, num_genes)`."""
        found = self.predictor.predict(genes)
        value, doubt = self.level * found.value, _Z95 * self.doubt
        low = value / np.exp(np.hypot(np.log(found.value / found.low), doubt))
        return Prediction(value=value, low=low, high=value * np.exp(np.hypot(np.log(found.high / found.value), doubt)))

    def is_outside(self, genes: Genes) -> NDArray[np.bool_]:
        """Whether each network lies outside what the predictor was fitted on, shape `(n,)`."""
        return self.predictor.is_outside(genes)


@dataclass(frozen=True, kw_only=True)
class TablePredictor:
    """The predictor of a table, which later sittings can bring up to date; make it with `TablePredictor.of`."""

    space: SearchSpace
    index: BlockIndex  # of everything measured
    observations: Observations  # of the table
    predictor: AdditivePredictor | BlockSumPredictor

    @staticmethod
    def of(space: SearchSpace, table: LatencyTable, *, statistic: Statistic) -> "TablePredictor":
        """Fit on a table.

        Raises:
            InputError: The table is of another space, or holds too few networks and too few blocks.
        """
        predictor = predictor_from_table(space, table, statistic=statistic)
        index = measured_index(space, table)
        return TablePredictor(
            space=space, index=index, observations=table_observations(index, table, statistic), predictor=predictor
        )

    @property
    def target(self) -> Target:
        return self.predictor.target

    def predict(self, genes: Genes) -> Prediction:
        """Latencies of architectures by the table alone, genes of shape `(n, num_genes)`."""
        return self.predictor.predict(genes)

    def is_outside(self, genes: Genes) -> NDArray[np.bool_]:
        """Whether each network lies outside what the table was measured on, shape `(n,)`."""
        return self.predictor.is_outside(genes)

    def refit(self, sittings: Sequence[MeasuredSitting]) -> LevelledPredictor:
        """The predictor of the table and these sittings, oldest first, of the same statistic, at the level of the newest."""
        if not sittings:
            return LevelledPredictor(predictor=self.predictor, level=1.0, doubt=0.0)
        if isinstance(self.predictor, BlockSumPredictor):
            return self._refit_sum(self.predictor, sittings)
        drift = _Drift.of(self.predictor, sittings)
        known = self._with_sittings(sittings, drift.levels())
        return LevelledPredictor(
            predictor=fit_predictor(self.index, self.target, known, into=self.predictor.index),
            level=drift.level,
            doubt=drift.doubt,
        )

    def _refit_sum(self, sums: BlockSumPredictor, sittings: Sequence[MeasuredSitting]) -> LevelledPredictor:
        """Networks that make up for those that the table lacks: its level is theirs."""
        known = self._with_sittings(sittings, np.ones(len(sittings)))
        if int(known.is_network.sum()) >= MIN_NETWORKS:
            return LevelledPredictor(
                predictor=fit_predictor(self.index, self.target, known, into=sums.index), level=1.0, doubt=0.0
            )
        genes = np.concatenate([sitting.genes for sitting in sittings])
        measured_ms = np.concatenate([sitting.value_ms for sitting in sittings])
        return LevelledPredictor(predictor=sums.after(genes, measured_ms), level=1.0, doubt=0.0)

    def _with_sittings(self, sittings: Sequence[MeasuredSitting], levels: FloatArray) -> Observations:
        """What the table holds and what was measured since, brought to the table's level."""
        known = self.observations
        first_number = int(known.sittings.max(initial=-1)) + 1
        for number, (sitting, level) in enumerate(zip(sittings, levels, strict=True), start=first_number):
            known = _joined(self._observed(sitting, level=float(level), number=number), known)
        return known

    def _observed(self, sitting: MeasuredSitting, *, level: float, number: int) -> Observations:
        genes = np.stack([self.index.space.encode(self.space.decode(row)) for row in sitting.genes])
        return Observations(
            counts=self.index.count(genes),
            resolutions=genes[:, 0],
            latency_ms=sitting.value_ms / level,
            relative_noise=np.log(sitting.high_ms / sitting.low_ms) / 2 / _Z95,
            sittings=np.full(len(genes), number),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drift:
    """How far sittings are from the table.

    log_ratios      shape `(n,)`, oldest first: of each sitting, the middle log ratio of measured to predicted latency
    usual           standard deviation of such a ratio while the device stays as it is
    """

    log_ratios: FloatArray
    usual: float

    @staticmethod
    def of(table: AdditivePredictor, sittings: Sequence[MeasuredSitting]) -> "_Drift":
        predictions = [table.predict(sitting.genes) for sitting in sittings]
        log_ratios = np.array([np.median(np.log(s.value_ms / p.value)) for s, p in zip(sittings, predictions, strict=True)])
        unknown = np.median([np.median(np.log(p.high / p.low)) / 2 / _Z95 / math.sqrt(len(p.value)) for p in predictions])
        between = 1.4826 * np.median(np.abs(log_ratios - np.median(log_ratios)))
        return _Drift(log_ratios=log_ratios, usual=math.hypot(max(table.sitting_noise, between), unknown))

    @property
    def level(self) -> float:
        """Of the device in the newest sittings; 1 is the table's."""
        return math.exp(self._believed * self._middle)

    @property
    def doubt(self) -> float:
        """Standard deviation of the level's logarithm."""
        return self._believed * self.usual / math.sqrt(len(self.log_ratios[-_NEWEST:]))

    def levels(self) -> FloatArray:
        """What each sitting is divided by, shape `(n,)`: today's level, or its own where the device was clearly another then."""
        strayed = np.abs(self.log_ratios - math.log(self.level)) > _STRAYED * self.usual
        return np.where(strayed, np.exp(self.log_ratios), self.level)

    @property
    def _middle(self) -> float:
        return float(np.median(self.log_ratios[-_NEWEST:]))

    @property
    def _believed(self) -> float:
        """Share of the newest ratio that is more than chance."""
        if self._middle == 0:
            return 0.0
        return max(0.0, 1 - self.usual**2 / len(self.log_ratios[-_NEWEST:]) / self._middle**2)


def _joined(networks: Observations, others: Observations) -> Observations:
    """Both, the networks first."""
    return Observations(
        counts=sparse.vstack([networks.counts, others.counts], format="csr"),
        resolutions=np.concatenate([networks.resolutions, others.resolutions]),
        latency_ms=np.concatenate([networks.latency_ms, others.latency_ms]),
        relative_noise=np.concatenate([networks.relative_noise, others.relative_noise]),
        sittings=np.concatenate([networks.sittings, others.sittings]),
    )
