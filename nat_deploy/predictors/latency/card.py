"""The card of a table: how well its predictor does on networks it has not seen, beside trivial baselines and beside the labels'
own noise."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.latency.additive import (
    MIN_NETWORKS,
    AdditivePredictor,
    fit_predictor,
    is_sum_of_blocks,
    predictor_from_table,
)
from nat_deploy.predictors.latency.baselines import BASELINES, fit_baseline
from nat_deploy.predictors.latency.block_sum import fit_block_sum, fit_blocks, measured_blocks
from nat_deploy.predictors.latency.observations import measured_index, table_observations
from nat_deploy.predictors.latency.prediction import FloatArray, Prediction
from nat_deploy.predictors.latency.scores import Scores, score
from nat_deploy.predictors.latency.table import LatencyTable, NetworkEntry, Statistic
from nat_deploy.spaces import Architecture, SearchSpace, count_macs

OURS = "natdeploy"
SPEED_KNOWN = "natdeploy, speed known"
_FOLDS = 10
_LEAST_COMPANY = 3  # other networks of a sitting from which its speed can be told
_LEAST_RANKED = 3  # different networks whose order means anything


@dataclass(frozen=True, slots=True, kw_only=True)
class CardRow:
    """One predictor's scores on held-out networks."""

    name: str
    scores: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a table is worth.

    num_networks    different ones; `num_repeated` of them were measured in several sittings
    sources         keys of the targets whose tables the predictor builds on
    rows            starts with our predictor; "speed known" is the same one told how fast the device was in the sitting of each
                    network, which the other networks of the sitting show: what remains when the device is in its usual state
    repeatability   measurements of the same networks in two sittings against each other: the ceiling of any predictor
    """

    target_key: str
    space: str
    date: str
    statistic: Statistic
    num_networks: int
    num_repeated: int
    num_blocks: int
    uses_blocks: bool  # whether cross-validation found that the measured blocks help
    sources: tuple[str, ...]
    rows: tuple[CardRow, ...]
    repeatability: Scores | None
    allowance: float | None = None  # of a sum of blocks: what its intervals allow for that; scores are then of blocks

    @property
    def scores(self) -> Scores:
        """Of our predictor."""
        return self.rows[0].scores

    def lines(self) -> tuple[str, ...]:
        """The card as plain text."""
        used = " (used)" if self.uses_blocks else " (measured, but they did not help and are not used)"
        left_out = "networks" if self.allowance is None else "blocks"
        blocks = f" and {self.num_blocks} blocks{used}" if self.num_blocks else ", no block"
        head = [
            f"{self.space} on {self.target_key}, {self.date}, {self.statistic}",
            f"{self.num_networks} networks{blocks}; scores on {left_out} left out of the fit",
            *([f"with tables of {', '.join(self.sources)}"] if self.sources else []),
            f"{'':24}{'+-5 %':>8}{'+-10 %':>8}{'MAPE':>8}{'tau':>7}{'rho':>7}{'in 95 %':>9}{'width':>9}",
        ]
        rows = [_line(row.name, row.scores) for row in self.rows]
        noise = (
            [_line("same net, two sittings", self.repeatability, is_ranked=self.num_repeated >= _LEAST_RANKED)]
            if self.repeatability
            else ["no network was measured in enough sittings to tell how well labels repeat"]
        )
        if self.allowance is not None:
            checked = f"too few networks ({self.num_networks}) have" if self.num_networks else "nobody has"
            noise.append(
                f"a network is the sum of its blocks here, which {checked} checked: intervals allow {100 * self.allowance:.0f} % for it; "
                f"measure {MIN_NETWORKS} networks or more"
            )
        return (*head, *rows, *noise)


def make_card(
    space: SearchSpace, table: LatencyTable, *, statistic: Statistic = "p25", sources: Sequence[LatencyTable] = ()
) -> Card:
    """Judge a table by ten-fold cross-validation over its networks; a network measured twice is never in fit and test at once.

    Args:
        sources: Tables of other targets, as `predictor_from_table` takes them.

    A table of blocks with too few networks is judged by its blocks, each left out once.

    Raises:
        InputError: The table holds too few networks of the space, and too few blocks.
    """
    if is_sum_of_blocks(table):
        return _card_of_blocks(space, table, statistic)
    index = measured_index(space, table)
    observations = table_observations(index, table, statistic)
    rows = observations.is_network
    genes = np.array([index.space.encode(entry.architecture) for entry in table.networks], dtype=np.int64)
    measured = observations.latency_ms[rows]
    found = [predictor_from_table(space, source, statistic=statistic) for source in sources]
    of_others = [predictor for predictor in found if isinstance(predictor, AdditivePredictor)]
    predictor = fit_predictor(index, table.target, observations, sources=of_others)
    folds = _folds(observations.graphs[rows])
    numbers = np.unique(folds)

    def held_out(fold: int) -> Prediction:
        kept = np.ones(len(rows), dtype=np.bool_)
        kept[: len(folds)] = folds != fold  # networks come first
        fitted = fit_predictor(index, table.target, observations.pick(kept), sources=of_others)
        return fitted.predict(genes[folds == fold])

    left_out = [held_out(fold) for fold in numbers]
    ours = Prediction(
        **{name: _scattered([getattr(prediction, name) for prediction in left_out], folds) for name in ("value", "low", "high")}
    )
    scored = [CardRow(name=OURS, scores=score(ours, measured))]
    speeds = _speeds(measured / ours.value, observations.sittings[rows])
    if speeds is not None:
        scored.append(CardRow(name=SPEED_KNOWN, scores=score(ours.value * speeds, measured)))
    for name in reversed(BASELINES):
        predicted = [
            fit_baseline(name, index, genes[folds != fold], measured[folds != fold]).predict(genes[folds == fold])
            for fold in numbers
        ]
        scored.append(CardRow(name=name, scores=score(_scattered(predicted, folds), measured)))
    sittings = Counter(entry.architecture for entry in table.networks)
    return Card(
        target_key=table.target.key,
        space=table.space,
        date=datetime.now(UTC).date().isoformat(),
        statistic=statistic,
        num_networks=len(sittings),
        num_repeated=sum(count > 1 for count in sittings.values()),
        num_blocks=len(table.blocks),
        uses_blocks=predictor.uses_blocks,
        sources=tuple(source.target.key for source in predictor.sources),
        rows=tuple(scored),
        repeatability=repeatability(table.networks, statistic),
    )


def _card_of_blocks(space: SearchSpace, table: LatencyTable, statistic: Statistic) -> Card:
    measured = measured_blocks(table, statistic)
    ridge = fit_blocks(measured, ()).ridge
    # Residuals are shares of what a block took alone.
    ours = measured.alone_ms * (1 - ridge.loo_residuals)
    macs = np.array([[1, count_macs(block)] for block in measured.blocks]) / measured.alone_ms[:, None]
    leverage = np.einsum("ij,ji->i", macs, np.linalg.pinv(macs))
    residuals = (1 - macs @ np.linalg.pinv(macs).sum(axis=1)) / np.maximum(1 - leverage, 1e-6)
    return Card(
        target_key=table.target.key,
        space=table.space,
        date=datetime.now(UTC).date().isoformat(),
        statistic=statistic,
        num_networks=table.num_networks,
        num_repeated=0,
        num_blocks=len(table.blocks),
        uses_blocks=True,
        sources=(),
        rows=(
            CardRow(name=OURS, scores=score(ours, measured.alone_ms)),
            CardRow(name="macs", scores=score(measured.alone_ms * (1 - residuals), measured.alone_ms)),
        ),
        repeatability=repeatability(table.networks, statistic),
        allowance=fit_block_sum(space, table, statistic=statistic).allowance,
    )


def repeatability(entries: Sequence[NetworkEntry], statistic: Statistic) -> Scores | None:
    """How well one sitting predicts another: the ceiling of any predictor.

    Every measurement of a network is paired once, with one of a sitting as far away as half of its sittings. None when there are
    fewer than two pairs.
    """
    by_network: dict[Architecture, dict[int, float]] = {}
    for entry in entries:
        by_network.setdefault(entry.architecture, {})[entry.sitting] = entry.timing.value_ms(statistic)
    pairs = []
    for by_sitting in by_network.values():
        values = [by_sitting[sitting] for sitting in sorted(by_sitting)]
        half = len(values) // 2
        pairs += list(zip(values[:half], values[half : 2 * half], strict=True))
    if len(pairs) < 2:
        return None
    first, second = np.array(pairs).T
    return score(first, second)


def _speeds(ratios: FloatArray, sittings: NDArray[np.int64]) -> FloatArray | None:
    """How much slower than predicted the other networks of each one's sitting were, shape `(n,)`; None where there is but one
    sitting."""
    if len(np.unique(sittings)) < 2:
        return None
    speeds = np.ones(len(ratios))
    for row, sitting in enumerate(sittings):
        others = np.flatnonzero(sittings == sitting)
        others = others[others != row]
        if len(others) >= _LEAST_COMPANY:
            speeds[row] = np.median(ratios[others])
    return speeds


def _folds(networks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fold of each row, by the number of its network: `(n,)`."""
    numbers, network = np.unique(networks, return_inverse=True)
    return np.asarray(np.random.default_rng(0).permutation(len(numbers))[network] % _FOLDS)


def _scattered(parts: list[FloatArray], folds: NDArray[np.int64]) -> FloatArray:
    """Values of fold after fold back in the order of the rows."""
    order = np.argsort(folds, kind="stable")
    values = np.empty(len(folds))
    values[order] = np.concatenate(parts)
    return values


def _line(name: str, scores: Scores, *, is_ranked: bool = True) -> str:
    interval = ["–" if value is None else f"{100 * value:.1f} %" for value in (scores.coverage, scores.half_width)]
    ranks = [f"{value:.3f}" if is_ranked else "–" for value in (scores.kendall_tau, scores.spearman)]
    return (
        f"{name:24}{100 * scores.within_5:6.1f} %{100 * scores.within_10:6.1f} %{100 * scores.mape:6.2f} %"
        f"{ranks[0]:>7}{ranks[1]:>7}{interval[0]:>9}{interval[1]:>9}"
    )
