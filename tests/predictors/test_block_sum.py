"""Predicting whole networks from blocks alone."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from nat_deploy.errors import InputError
from nat_deploy.predictors.latency import (
    BlockEntry,
    BlockSumPredictor,
    LatencyPredictor,
    LatencyTable,
    MeasuredSitting,
    NetworkEntry,
    OverheadEntry,
    Provenance,
    TablePredictor,
    fit_block_sum,
    make_card,
    predictor_from_table,
    score,
)
from nat_deploy.spaces import Genes, SearchSpace, count_macs, make_space
from tests.contracts.latency_predictor_contract import LatencyPredictorContract
from tests.predictors.synthetic_device import FACTS, OVERHEAD_MS, TARGET, block_ms, latencies, make_table, small_space, timing


def block_table(space: SearchSpace, genes: Genes, *, every: int = 1, noise: float = 0.01, num_networks: int = 0) -> LatencyTable:
    """A table of every n-th block of some networks, each measured alone with the overhead in it."""
    rng = np.random.default_rng(0)
    blocks = sorted({block for row in genes for block in space.blocks(space.decode(row))}, key=lambda block: block.key)[::every]
    alone = {block: (OVERHEAD_MS + block_ms(block)) * np.exp(noise * rng.standard_normal()) for block in blocks}
    return LatencyTable(
        target=TARGET,
        facts=FACTS,
        space=space.name,
        num_classes=space.num_classes,
        provenance=Provenance(created="2026-01-01T00:00:00+00:00", natdeploy_version="0.1.0", seed=0),
        networks=tuple(
            NetworkEntry(architecture=space.decode(row), timing=timing(ms))
            for row, ms in zip(genes[:num_networks], latencies(space, genes[:num_networks], rng), strict=True)
        ),
        blocks=tuple(BlockEntry(block=block, timing=timing(ms, noise)) for block, ms in alone.items()),
        overheads=(OverheadEntry(timing=timing(OVERHEAD_MS)),),
    )


class TestBlockSumPredictor(LatencyPredictorContract):
    def fit(self, space: SearchSpace, genes: Genes, latency_ms: NDArray[np.float64]) -> LatencyPredictor:
        """Of the networks, only the blocks are measured."""
        return fit_block_sum(space, block_table(space, genes))


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return small_space()


@pytest.fixture(scope="module")
def genes(space: SearchSpace) -> Genes:
    return space.sample(np.random.default_rng(0), 60)


def test_measured_blocks_add_up_exactly(space: SearchSpace, genes: Genes) -> None:
    predictor = fit_block_sum(space, block_table(space, genes, noise=0))
    exact = latencies(space, genes[:10], np.random.default_rng(0), noise=0)
    np.testing.assert_allclose(predictor.predict(genes[:10]).value, exact, rtol=1e-9)
    assert predictor.overhead_ms == pytest.approx(OVERHEAD_MS)


def test_the_allowance_is_stated_and_kept(space: SearchSpace, genes: Genes) -> None:
    predictor = fit_block_sum(space, block_table(space, genes, noise=0))
    prediction = predictor.predict(genes[:10])
    assert predictor.allowance == pytest.approx(1.96 * np.hypot(0.10, 0.03), rel=1e-6)
    assert np.all(np.log(prediction.high / prediction.value) >= predictor.allowance * 0.999)


def test_blocks_that_were_not_measured_are_interpolated(space: SearchSpace, genes: Genes) -> None:
    table = block_table(space, genes, every=4)
    predictor = fit_block_sum(space, table)
    assert predictor.num_measured == len(table.blocks) < len(predictor.index.blocks)
    unseen = space.sample(np.random.default_rng(1), 200)
    scores = score(predictor.predict(unseen), latencies(space, unseen, np.random.default_rng(2)))
    assert scores.mape < 0.06
    assert scores.coverage is not None
    assert scores.coverage > 0.95


def test_what_is_interpolated_widens_the_interval(space: SearchSpace, genes: Genes) -> None:
    narrow = fit_block_sum(space, block_table(space, genes)).predict(genes[:20])
    wide = fit_block_sum(space, block_table(space, genes, every=6)).predict(genes[:20])
    assert np.all(wide.high / wide.low > narrow.high / narrow.low)


def test_resolutions_between_and_beyond_the_measured_ones(space: SearchSpace, genes: Genes) -> None:
    table = block_table(space, genes)
    other = make_space(space.name, resolutions=(40, 72, 128), num_classes=10)
    predictor = fit_block_sum(other, table)
    unseen = other.sample(np.random.default_rng(1), 200)
    between = unseen[unseen[:, 0] == 1]
    assert not predictor.is_outside(between).any()
    assert predictor.is_outside(unseen[unseen[:, 0] == 2]).all()
    assert score(predictor.predict(between), latencies(other, between, np.random.default_rng(2))).mape < 0.06


def test_a_few_networks_move_the_level_and_narrow_the_allowance(space: SearchSpace, genes: Genes) -> None:
    """A device on which whole networks take 15 % longer than their blocks."""
    levels, halves = [], []
    for num_networks in (0, 1, 4):
        table = block_table(space, genes, num_networks=num_networks)
        slower = tuple(replace(entry, timing=timing(1.15 * entry.timing.p25_ms)) for entry in table.networks)
        predictor = predictor_from_table(space, replace(table, networks=slower))
        assert isinstance(predictor, BlockSumPredictor)
        levels.append(predictor.level)
        halves.append(predictor.allowance)
    assert levels[0] == 1
    assert 1.1 < levels[1] < 1.16
    assert levels[2] == pytest.approx(1.15, abs=0.02)
    assert halves[0] > 2 * halves[1] > 2 * halves[2]


def test_the_classifier_of_other_classes_is_no_reason_to_doubt_a_network(genes: Genes, space: SearchSpace) -> None:
    other = make_space(space.name, resolutions=space.resolutions, num_classes=1000)
    predictor = fit_block_sum(other, block_table(space, genes))
    unseen = other.sample(np.random.default_rng(1), 50)
    assert not predictor.is_outside(unseen[unseen[:, 0] == 4]).any()


def test_enough_networks_are_better_than_a_sum(space: SearchSpace) -> None:
    table = make_table(space, np.random.default_rng(0), num_networks=6, num_blocks=40)
    assert not isinstance(predictor_from_table(space, table), BlockSumPredictor)
    assert isinstance(predictor_from_table(space, replace(table, networks=table.networks[:4])), BlockSumPredictor)


def test_too_few_blocks_are_refused(space: SearchSpace, genes: Genes) -> None:
    table = block_table(space, genes)
    again = tuple(replace(entry, sitting=1) for entry in table.blocks[:9])
    with pytest.raises(InputError, match="at least 10 different blocks, but there are 9"):
        predictor_from_table(space, replace(table, blocks=(*table.blocks[:9], *again)))


def test_a_block_faster_than_the_overhead_still_costs_something(space: SearchSpace, genes: Genes) -> None:
    table = block_table(space, genes)
    fast = replace(table.blocks[0], timing=timing(OVERHEAD_MS / 2))
    predictor = fit_block_sum(space, replace(table, blocks=(fast, *table.blocks[1:])))
    assert np.all(predictor.block_ms > 0)
    assert np.all(np.isfinite(predictor.predict(genes).high))


def test_its_card_judges_blocks_and_says_what_nobody_checked(space: SearchSpace, genes: Genes) -> None:
    card = make_card(space, block_table(space, genes))
    assert [row.name for row in card.rows] == ["natdeploy", "macs"]
    assert card.allowance == pytest.approx(0.205, abs=0.001)
    assert card.scores.mape < 0.05
    assert "scores on blocks left out of the fit" in card.lines()[1]
    assert "nobody has checked: intervals allow 20 % for it" in card.lines()[-1]
    assert card.scores.mape < card.rows[1].scores.mape


def test_baseline_scores_of_blocks_are_left_out_too(space: SearchSpace, genes: Genes) -> None:
    """The closed form of leaving one out, held against doing it."""
    table = block_table(space, genes, every=10)
    macs = np.array([count_macs(entry.block) for entry in table.blocks], dtype=np.float64)
    ms = np.array([entry.timing.p25_ms for entry in table.blocks])
    errors = []
    for left_out in range(len(ms)):
        kept = np.arange(len(ms)) != left_out
        rows = np.column_stack([np.ones(len(ms)), macs]) / ms[:, None]
        weights, *_ = np.linalg.lstsq(rows[kept], np.ones(kept.sum()), rcond=None)
        errors.append(abs(rows[left_out] @ weights - 1))
    assert make_card(space, table).rows[1].scores.mape == pytest.approx(np.mean(errors), rel=1e-6)


def test_networks_that_a_search_measures_set_the_level_and_soon_make_a_better_predictor(space: SearchSpace, genes: Genes) -> None:
    """A device on which whole networks take 15 % longer than their blocks."""
    table = TablePredictor.of(space, block_table(space, genes), statistic="p25")
    unseen = space.sample(np.random.default_rng(1), 100)
    exact = 1.15 * latencies(space, unseen, np.random.default_rng(2), noise=0)
    assert np.median(table.refit([]).predict(unseen).value / exact) == pytest.approx(1 / 1.15, abs=0.02)
    for num_networks in (3, 30):
        measured = 1.15 * latencies(space, genes[:num_networks], np.random.default_rng(3))
        sitting = MeasuredSitting(genes=genes[:num_networks], value_ms=measured, low_ms=0.99 * measured, high_ms=1.01 * measured)
        assert score(table.refit([sitting]).predict(unseen), exact).mape < 0.03
