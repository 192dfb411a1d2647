"""Statistics of timed runs; the round, not the run, is the unit.

Runs that follow one another are correlated (caches, clocks, neighbours), so an interval from single runs is
far too narrow. Rounds of one model lie apart in time, with rounds of other models between them, and are
treated as independent: a figure of a measurement is the median over rounds of the figure of each round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray  # not in the numpy of older boards

# Fewest runs from which the percentile can be bounded above with 95 % confidence: percentile ** n <= 0.05.
# Agrees with the early-stopping rule of MLPerf's load generator.
MIN_RUNS_FOR_PERCENTILE = {90: 29, 95: 59, 99: 299}

# Measuring stops when the interval is narrow, which favours intervals that are narrow by luck: of those made
# for 95 %, 91 % hold. Made for this confidence, 95 % hold after such a stop (`tests/profilers/test_intervals.py`).
SEQUENTIAL_CONFIDENCE = 0.975


def round_quantiles(rounds: Sequence[Sequence[int]], quantile: float) -> NDArray[np.float64]:
    """Return the quantile of each round, shape `(num_rounds,)`, in the unit of the samples."""
    return np.array([quantile_of(samples, quantile) for samples in rounds], dtype=np.float64)


def quantile_of(samples: Sequence[int], quantile: float) -> float:
    """Quantile with linear interpolation, as `numpy.quantile`, but quick for the few samples of a round."""
    ordered = sorted(samples)
    place = quantile * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def median_interval(values: Sequence[float] | NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the median of independent values, without assuming their distribution.

    Order statistics with interpolated ranks. The percentile bootstrap was tried and left: its interval for
    a median falls on order statistics too, and at 7 rounds holds 87 % instead of 95 %. From fewer than six
    values the interval is the whole range (five values: 94 %; fewer: less than stated).

    Args:
        values: `n >= 1` figures, one for each round.
        confidence: Share of such intervals that hold the true median, in (0, 1).

    Returns:
        Low and high end, in the unit of the values.

    Source: Hettmansperger and Sheather, Statistics & Probability Letters 4 (1986).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    rank, share = _interval_rank(len(ordered), confidence)
    inner = min(rank, len(ordered) - 1)
    low = (1 - share) * ordered[rank - 1] + share * ordered[inner]
    high = (1 - share) * ordered[-rank] + share * ordered[-1 - inner]
    return float(low), float(high)


@lru_cache(maxsize=4096)
def _interval_rank(count: int, confidence: float) -> tuple[int, float]:
    """Return the outer rank (from 1) of the low end, and the share of the next rank that is mixed in."""
    log_half = count * math.log(0.5)
    outside, rank, coverage = math.exp(log_half), 1, 1 - 2 * math.exp(log_half)
    while rank + 1 <= count // 2:
        log_choose = math.lgamma(count + 1) - math.lgamma(rank + 1) - math.lgamma(count - rank + 1)
        outside += math.exp(log_choose + log_half)
        next_coverage = 1 - 2 * outside
        if next_coverage < confidence:
            if coverage <= confidence:
                return rank, 0.0
            step = (coverage - confidence) / (coverage - next_coverage)
            return rank, (count - rank) * step / (rank + (count - 2 * rank) * step)
        rank, coverage = rank + 1, next_coverage
    return rank, 0.0


def slow_share(rounds: Sequence[Sequence[int]]) -> float:
    """Share of runs that are slow: above the median of their round + 5 MAD, or above 1.5 x that median.

    On a very quiet device 5 MAD is next to nothing, so a run within 5 % of the median is never slow.
    Nothing is deleted: quantiles absorb slow runs, and cutting them would hide a clock with two states.
    """
    num_slow = sum(_num_slow(np.asarray(samples, dtype=np.float64)) for samples in rounds)
    return num_slow / sum(len(samples) for samples in rounds)


def _num_slow(samples: NDArray[np.float64]) -> int:
    median = float(np.median(samples))
    deviation = float(np.median(np.abs(samples - median)))
    limit = min(1.5 * median, max(median + 5 * deviation, 1.05 * median))
    return int(np.count_nonzero(samples > limit))


def uneven_share(figures: Sequence[float]) -> float:
    """Share of rounds whose figure is more than 5 % off the median of all rounds."""
    values = np.asarray(figures, dtype=np.float64)
    middle = float(np.median(values))
    return float(np.mean(np.abs(values - middle) > 0.05 * middle))


def percentile_or_none(rounds: Sequence[Sequence[int]], percentile: int) -> float | None:
    """Return the percentile (90, 95 or 99) of all runs together, or None when there are too few runs."""
    pooled = np.concatenate([np.asarray(samples, dtype=np.float64) for samples in rounds])
    if len(pooled) < MIN_RUNS_FOR_PERCENTILE[percentile]:
        return None
    return float(np.quantile(pooled, percentile / 100))


def variation_of_rounds(rounds: Sequence[Sequence[int]]) -> float:
    """Standard deviation of the round medians as a share of their mean; needs two rounds or more."""
    medians = round_quantiles(rounds, 0.5)
    return float(np.std(medians, ddof=1) / np.mean(medians))
