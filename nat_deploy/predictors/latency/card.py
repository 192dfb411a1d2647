"""The card of a table: how well its predictor does on networks it has not seen, beside trivial baselines and beside the labels'
own noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.latency.additive import (
    MIN_NETWORKS,
    Observations,
    fit_predictor,
    is_sum_of_blocks,
    measured_index,
    table_observations,
)
from nat_deploy.predictors.latency.baselines import BASELINES, fit_baseline
from nat_deploy.predictors.latency.block_index import BlockIndex
from nat_deploy.predictors.latency.block_sum import fit_block_sum, fit_blocks, measured_blocks
from nat_deploy.predictors.latency.prediction import FloatArray, Prediction
from nat_deploy.predictors.latency.scores import Scores, score
from nat_deploy.predictors.latency.table import LatencyTable, NetworkEntry, Statistic
from nat_deploy.spaces import Genes, SearchSpace, count_macs

OURS = "natdeploy"
_FOLDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class CardRow:
    """One predictor's scores on held-out networks."""

    name: str
    scores: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a table is worth. `rows` starts with our predictor; `repeatability` compares measurements of the same networks in
    two sittings."""

    target_key: str
    space: str
    date: str
    statistic: Statistic
    num_networks: int
    num_blocks: int
    uses_blocks: bool  # whether cross-validation found that the measured blocks help
    rows: tuple[CardRow, ...]
    repeatability: Scores | None
    allowance: float | None = (
        None  # of a sum of blocks: what intervals allow for nobody having measured networks; scores are then of blocks
    )

    @property
    def scores(self) -> Scores:
        """Of our predictor."""
        return self.rows[0].scores

    def lines(self) -> tuple[str, ...]:
        """The card as plain text."""
        used = "used" if self.uses_blocks else "measured, but they did not help and are not used"
        left_out = "networks" if self.allowance is None else "blocks"
        head = [
            f"{self.space} on {self.target_key}, {self.date}, {self.statistic}",
            f"{self.num_networks} networks and {self.num_blocks} blocks ({used}); scores on {left_out} left out of the fit",
            f"{'':22}{'+-5 %':>8}{'+-10 %':>8}{'MAPE':>8}{'tau':>7}{'rho':>7}{'in 95 %':>9}{'width':>9}",
        ]
        rows = [_line(row.name, row.scores) for row in self.rows]
        noise = (
            [_line("same net, two sittings", self.repeatability)]
            if self.repeatability
            else ["no network was measured in two sittings"]
        )
        if self.allowance is not None:
            checked = f"too few networks ({self.num_networks}) have" if self.num_networks else "nobody has"
            noise.append(
                f"a network is the sum of its blocks here, which {checked} checked: intervals allow {100 * self.allowance:.0f} % for it; "
                f"measure {MIN_NETWORKS} networks or more"
            )
        return (*head, *rows, *noise)


def make_card(space: SearchSpace, table: LatencyTable, *, statistic: Statistic = "p25") -> Card:
    """Judge a table by ten-fold cross-validation over its networks; a network measured twice is never in fit and test at once.

    A table of blocks with too few networks is judged by its blocks, each left out once.

    Raises:
        InputError: The table holds too few networks of the space, and too few blocks.
    """
    if is_sum_of_blocks(table):
        return _card_of_blocks(space, table, statistic)
    index = measured_index(space, table)
    observations = table_observations(index, table, statistic)
    is_network = observations.is_network
    genes = np.array([index.space.encode(entry.architecture) for entry in table.networks], dtype=np.int64)
    measured = observations.latency_ms[is_network]
    predictor = fit_predictor(index, table.target, observations)
    folds = _folds(genes)
    left_out = [
        _predict_fold(index, table, observations, genes, folds == fold) for fold in range(_FOLDS) if (folds == fold).any()
    ]
    ours = Prediction(
        **{name: _scattered([getattr(prediction, name) for prediction in left_out], folds) for name in ("value", "low", "high")}
    )
    rows = [CardRow(name=OURS, scores=score(ours, measured))]
    for name in reversed(BASELINES):
        predicted = [
            fit_baseline(name, index, genes[folds != fold], measured[folds != fold]).predict(genes[folds == fold])
            for fold in range(_FOLDS)
            if (folds == fold).any()
        ]
        rows.append(CardRow(name=name, scores=score(_scattered(predicted, folds), measured)))
    return Card(
        target_key=table.target.key,
        space=table.space,
        date=datetime.now(UTC).date().isoformat(),
        statistic=statistic,
        num_networks=len(table.networks),
        num_blocks=len(table.blocks),
        uses_blocks=predictor.uses_blocks,
        rows=tuple(rows),
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
        num_networks=len(table.networks),
        num_blocks=len(table.blocks),
        uses_blocks=True,
        rows=(
            CardRow(name=OURS, scores=score(ours, measured.alone_ms)),
            CardRow(name="macs", scores=score(measured.alone_ms * (1 - residuals), measured.alone_ms)),
        ),
        repeatability=repeatability(table.networks, statistic),
        allowance=fit_block_sum(space, table, statistic=statistic).allowance,
    )


def repeatability(entries: Sequence[NetworkEntry], statistic: Statistic) -> Scores | None:
    """How well one sitting predicts another: the ceiling of any predictor. None when fewer than two networks were measured
    twice."""
    pairs = [
        (first.timing.value_ms(statistic), second.timing.value_ms(statistic))
        for first, second in combinations(entries, 2)
        if first.architecture == second.architecture and first.sitting != second.sitting
    ]
    if len(pairs) < 2:
        return None
    first, second = np.array(pairs).T
    return score(first, second)


def _folds(genes: Genes) -> NDArray[np.int64]:
    """Fold of each row, by network: `(n,)`."""
    _, network = np.unique(genes, axis=0, return_inverse=True)
    shuffled = np.random.default_rng(0).permutation(int(network.max(initial=0)) + 1)
    return np.asarray(shuffled[network.ravel()] % _FOLDS)


def _predict_fold(
    index: BlockIndex, table: LatencyTable, observations: Observations, genes: Genes, held: NDArray[np.bool_]
) -> Prediction:
    kept = np.ones(len(observations.latency_ms), dtype=np.bool_)
    kept[: len(held)] = ~held  # networks come first
    return fit_predictor(index, table.target, observations.pick(kept)).predict(genes[held])


def _scattered(parts: list[FloatArray], folds: NDArray[np.int64]) -> FloatArray:
    """Values of fold after fold back in the order of the rows."""
    order = np.argsort(folds, kind="stable")
    values = np.empty(len(folds))
    values[order] = np.concatenate(parts)
    return values


def _line(name: str, scores: Scores) -> str:
    interval = ["–" if value is None else f"{100 * value:.1f} %" for value in (scores.coverage, scores.half_width)]
    return (
        f"{name:22}{100 * scores.within_5:6.1f} %{100 * scores.within_10:6.1f} %{100 * scores.mape:6.2f} %"
        f"{scores.kendall_tau:7.3f}{scores.spearman:7.3f}{interval[0]:>9}{interval[1]:>9}"
    )
