from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from nat_deploy.predictors.latency import (
    LatencyPredictor,
    LatencyTable,
    LevelledPredictor,
    MeasuredSitting,
    NetworkEntry,
    TablePredictor,
    score,
)
from nat_deploy.predictors.latency.refit import _Drift
from nat_deploy.spaces import Genes, SearchSpace, make_space
from tests.contracts.latency_predictor_contract import LatencyPredictorContract
from tests.predictors.synthetic_device import latencies, make_table, small_space, timing

SPACE = small_space()


def networks(genes: Genes, latency_ms: NDArray[np.float64], space: SearchSpace = SPACE) -> tuple[NetworkEntry, ...]:
    return tuple(
        NetworkEntry(architecture=space.decode(row), timing=timing(float(ms))) for row, ms in zip(genes, latency_ms, strict=True)
    )


def table(seed: int = 0, num_networks: int = 44) -> LatencyTable:
    return make_table(SPACE, np.random.default_rng(seed), num_networks=num_networks, num_blocks=0)


def measured(rng: np.random.Generator, *, slowness: float = 1.0, count: int = 4, genes: Genes | None = None) -> MeasuredSitting:
    genes = SPACE.sample(rng, count) if genes is None else genes
    value = slowness * latencies(SPACE, genes, rng)
    return MeasuredSitting(genes=genes, value_ms=value, low_ms=0.99 * value, high_ms=1.01 * value)


class TestLevelledPredictor(LatencyPredictorContract):
    """Half of the networks from a table, half from two later sittings."""

    def fit(self, space: SearchSpace, genes: Genes, latency_ms: NDArray[np.float64]) -> LatencyPredictor:
        half = len(genes) // 2
        known = replace(table(), networks=networks(genes[:half], latency_ms[:half], space), overheads=())
        later = [
            MeasuredSitting(genes=genes[rows], value_ms=latency_ms[rows], low_ms=latency_ms[rows], high_ms=latency_ms[rows])
            for rows in np.array_split(np.arange(half, len(genes)), 2)
        ]
        return TablePredictor.of(space, known, statistic="p25").refit(later)


def of_table() -> TablePredictor:
    return TablePredictor.of(SPACE, table(), statistic="p25")


def error(predictor: LatencyPredictor, genes: Genes, slowness: float) -> float:
    """Mean error as a share, against latencies without noise."""
    return score(predictor.predict(genes), slowness * latencies(SPACE, genes, np.random.default_rng(0), noise=0.0)).mape


def test_without_a_sitting_it_is_the_predictor_of_the_table() -> None:
    genes = SPACE.sample(np.random.default_rng(1), 20)
    np.testing.assert_array_equal(of_table().refit([]).predict(genes).value, of_table().predict(genes).value)


@pytest.mark.parametrize("slowness", [0.7, 1.3])
def test_a_device_of_another_speed_is_followed_after_one_sitting(slowness: float) -> None:
    rng = np.random.default_rng(2)
    refitted = of_table().refit([measured(rng, slowness=slowness)])
    assert refitted.level == pytest.approx(slowness, rel=0.03)
    unseen = SPACE.sample(rng, 200)
    assert error(of_table(), unseen, slowness) > 0.2
    assert error(refitted, unseen, slowness) < 0.04


def test_at_the_speed_of_the_table_more_networks_make_it_better() -> None:
    rng = np.random.default_rng(3)
    unseen = SPACE.sample(rng, 200)
    few = TablePredictor.of(SPACE, table(num_networks=15), statistic="p25")
    refitted = few.refit([measured(rng, count=8) for _ in range(4)])
    assert error(refitted, unseen, 1.0) < 0.8 * error(few, unseen, 1.0)
    assert refitted.level == pytest.approx(1.0, abs=0.01)


def test_what_the_table_has_never_seen_is_learned_from_what_was_measured() -> None:
    rng = np.random.default_rng(4)
    genes = SPACE.sample(rng, 400)
    is_large = genes[:, 0] >= 3
    known = replace(table(), networks=networks(genes[~is_large][:40], latencies(SPACE, genes[~is_large][:40], rng)))
    source = TablePredictor.of(SPACE, known, statistic="p25")
    large = genes[is_large]
    refitted = source.refit([measured(rng, genes=large[:4]), measured(rng, genes=large[4:8]), measured(rng, genes=genes[:4])])
    assert source.is_outside(large[8:]).mean() > refitted.is_outside(large[8:]).mean()
    assert error(refitted, large[8:], 1.0) < error(source, large[8:], 1.0)


def test_one_odd_sitting_changes_nothing_and_does_not_make_it_unsure() -> None:
    rng = np.random.default_rng(5)
    quiet = [measured(rng) for _ in range(4)]
    genes = SPACE.sample(rng, 100)
    usual, odd = of_table().refit(quiet), of_table().refit([*quiet, measured(rng, slowness=1.4)])
    assert odd.level == pytest.approx(usual.level, abs=0.01)
    np.testing.assert_allclose(odd.predict(genes).value, usual.predict(genes).value, rtol=0.03)
    widths = [np.median(found.high / found.low) for found in (usual.predict(genes), odd.predict(genes))]
    assert widths[1] < 1.1 * widths[0]


def test_a_change_that_lasts_is_followed_after_two_sittings() -> None:
    rng = np.random.default_rng(6)
    sittings = [measured(rng) for _ in range(4)] + [measured(rng, slowness=1.3) for _ in range(2)]
    refitted = of_table().refit(sittings)
    assert refitted.level == pytest.approx(1.3, rel=0.03)
    assert error(refitted, SPACE.sample(rng, 100), 1.3) < 0.04


def test_a_device_that_varies_from_sitting_to_sitting_widens_intervals() -> None:
    rng = np.random.default_rng(7)
    source, genes = of_table(), SPACE.sample(rng, 200)
    held = []
    for _ in range(6):
        varied = source.refit([measured(rng, slowness=slowness) for slowness in np.exp(0.05 * rng.standard_normal(8))])
        found = varied.predict(genes)
        another = np.exp(0.05 * rng.standard_normal((50, 1)))  # as the next sittings may find it
        truth = another * latencies(SPACE, genes, rng, noise=0.0)
        held.append(((found.low <= truth) & (truth <= found.high)).mean())
    steady = source.refit([measured(rng) for _ in range(8)]).predict(genes)
    # A steady device is not believed to stay so after nine sittings: its intervals leave room for the usual spread.
    assert np.median(np.log(found.high / found.low)) > 1.5 * np.median(np.log(steady.high / steady.low))
    assert np.mean(held) > 0.85


def test_the_space_searched_may_be_a_part_of_the_space_measured() -> None:
    part = make_space(SPACE.name, resolutions=(48, 80), num_classes=10)
    rng = np.random.default_rng(8)
    genes = part.sample(rng, 30)
    value = 1.2 * latencies(part, genes, rng)
    sitting = MeasuredSitting(genes=genes[:6], value_ms=value[:6], low_ms=value[:6], high_ms=value[:6])
    refitted = TablePredictor.of(part, table(), statistic="p25").refit([sitting])
    np.testing.assert_allclose(refitted.predict(genes).value, value, rtol=0.1)


def test_the_statistic_of_the_table_is_the_one_asked_for() -> None:
    genes = SPACE.sample(np.random.default_rng(9), 50)
    first, median = (TablePredictor.of(SPACE, table(), statistic=name).predict(genes).value for name in ("p25", "median"))  # type: ignore[arg-type]
    assert np.median(median / first) == pytest.approx(1.02, abs=0.005)  # as `timing` makes them


@pytest.mark.parametrize(
    ("log_ratios", "usual", "log_level"),
    [
        ([0.0], 0.01, 0.0),
        ([0.3], 0.01, 0.3 * (1 - 0.0001 / 0.09)),
        ([0.02], 0.04, 0.0),  # nothing that stands out
        ([0.0, 0.0, 0.3], 0.01, 0.0),
        ([0.0, 0.3, 0.3], 0.03, 0.3 * (1 - 0.0009 / 3 / 0.09)),
        ([0.0, 0.0, -0.3, -0.3, -0.3], 0.03, -0.3 * (1 - 0.0009 / 3 / 0.09)),
    ],
)
def test_a_level_is_believed_as_far_as_it_stands_out(log_ratios: list[float], usual: float, log_level: float) -> None:
    drift = _Drift(log_ratios=np.array(log_ratios), usual=usual)
    assert np.log(drift.level) == pytest.approx(log_level, abs=1e-12)


def test_only_sittings_far_from_today_are_brought_to_the_table_by_their_own_ratio() -> None:
    drift = _Drift(log_ratios=np.array([0.0, 0.28, 0.3, 0.32]), usual=0.05)
    np.testing.assert_allclose(np.log(drift.levels()), [0.0, *[np.log(drift.level)] * 3])


def test_an_empty_sitting_is_a_mistake() -> None:
    nothing = np.empty(0)
    with pytest.raises(ValueError, match="at least one network"):
        MeasuredSitting(genes=SPACE.sample(np.random.default_rng(0), 1)[:0], value_ms=nothing, low_ms=nothing, high_ms=nothing)


def test_the_level_multiplies_value_and_interval_and_its_doubt_widens() -> None:
    genes = SPACE.sample(np.random.default_rng(1), 5)
    plain = of_table().predictor.predict(genes)
    sure, unsure = (
        LevelledPredictor(predictor=of_table().predictor, level=2.0, doubt=doubt).predict(genes) for doubt in (0.0, 0.05)
    )
    for name in ("value", "low", "high"):
        np.testing.assert_allclose(getattr(sure, name), 2.0 * getattr(plain, name))
    np.testing.assert_array_equal(unsure.value, sure.value)
    widths = [np.log(found.high / found.value) for found in (sure, unsure)]
    np.testing.assert_allclose(widths[1] ** 2, widths[0] ** 2 + (1.96 * 0.05) ** 2)
