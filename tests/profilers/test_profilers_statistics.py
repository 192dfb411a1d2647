"""Statistics on values placed by hand, and the rate at which intervals hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from profilers.statistics import (
    MIN_RUNS_FOR_PERCENTILE,
    median_interval,
    percentile_or_none,
    round_quantiles,
    slow_share,
    variation_of_rounds,
)


def test_quantiles_are_of_each_round() -> None:
    rounds = [[4, 1, 2, 3, 5], [10, 10]]
    assert round_quantiles(rounds, 0.5).tolist() == [3.0, 10.0]
    assert round_quantiles(rounds, 0.25).tolist() == [2.0, 10.0]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_values_give_their_whole_range(count: int) -> None:
    values = [float(value) for value in range(count)]
    assert median_interval(values) == (0.0, count - 1.0)


@pytest.mark.parametrize(("count", "low_rank", "high_rank"), [(20, 6, 15), (50, 18, 33), (100, 40, 61), (200, 86, 115)])
def test_interval_lies_within_one_rank_of_the_textbook(count: int, low_rank: int, high_rank: int) -> None:
    low, high = median_interval([float(rank) for rank in range(1, count + 1)])
    assert low_rank <= low < low_rank + 1
    assert high_rank - 1 < high <= high_rank
    assert low + high == pytest.approx(count + 1)


@pytest.mark.parametrize("count", [5, 7, 8, 12, 30])
def test_intervals_hold_the_median_at_their_rate(count: int) -> None:
    rng = np.random.default_rng(count)
    draws = rng.exponential(size=(1500, count))
    held = [low <= math.log(2) <= high for low, high in map(median_interval, draws)]
    assert 0.92 <= np.mean(held) <= 0.98


def test_slow_runs_are_counted_by_hand() -> None:
    # Median 100, MAD 10: slow is above min(150, max(150, 105)).
    assert slow_share([[90, 90, 100, 100, 110, 110, 151]]) == pytest.approx(1 / 7)
    # Equal runs: only what lies 5 % off counts.
    assert slow_share([[100] * 9 + [104]]) == 0
    assert slow_share([[100] * 9 + [106]]) == pytest.approx(0.1)
    # Each round has its own median, so drift is not slowness.
    assert slow_share([[100] * 5, [300] * 5]) == 0


@pytest.mark.parametrize("percentile", [90, 95, 99])
def test_percentiles_need_enough_runs(percentile: int) -> None:
    fewest = MIN_RUNS_FOR_PERCENTILE[percentile]
    assert (percentile / 100) ** fewest <= 0.05 < (percentile / 100) ** (fewest - 1)
    assert percentile_or_none([[5] * (fewest - 1)], percentile) is None
    assert percentile_or_none([[5] * 10, [5] * (fewest - 10)], percentile) == 5


def test_variation_is_of_round_medians() -> None:
    assert variation_of_rounds([[9, 9, 99], [11, 11, 99]]) == pytest.approx(math.sqrt(2) / 10)
