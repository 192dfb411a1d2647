"""Is one model faster than another? Two measurements of one sitting, compared round by round.

Rounds of the same pass lie next to each other in time, in alternating order, so whatever the device did then
it did to both: a ratio of two rounds is worth far more than a ratio of two results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from profilers.errors import JobError
from profilers.measurement import Measurement
from profilers.rounds import RANKING_QUANTILE
from profilers.statistics import SEQUENTIAL_CONFIDENCE, median_interval, round_quantiles

if TYPE_CHECKING:
    from numpy.typing import NDArray  # not in the numpy of older boards

_MIN_PASSES = 5  # fewer cannot give a 95 % interval


@dataclass(frozen=True)
class Comparison:
    """How long the first model takes, as a share of the time of the second."""

    first: str  # ids
    second: str
    ratio: float  # median over passes; below 1 the first is faster
    low: float  # interval that holds 95 of 100 times
    high: float
    num_passes: int

    @property
    def verdict(self) -> str:
        """ "faster" or "slower", the first than the second, or "no difference" outside the noise."""
        return "faster" if self.high < 1 else "slower" if self.low > 1 else "no difference"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


def compare(first: Measurement, second: Measurement, *, quantile: float = RANKING_QUANTILE) -> Comparison:
    """Compare two models that took turns.

    Args:
        first: One model.
        second: The other.
        quantile: What is taken of each round.

    Raises:
        JobError: They were not timed in one sitting on one target, or share too few passes.
    """
    figures = _figures([first, second], quantile)
    ratios = figures[0] / figures[1]
    low, high = median_interval(ratios, SEQUENTIAL_CONFIDENCE)
    return Comparison(first.id, second.id, float(np.median(ratios)), low, high, len(ratios))


def levels_ms(measurements: Sequence[Measurement], *, quantile: float = RANKING_QUANTILE) -> NDArray[np.float64]:
    """Times of models that took turns, freed of what each pass did to all of them alike.

    A pass in which the device was slow is slow for every model. With that taken out (median polish of the
    logarithms), the same networks in two sittings of a busy machine differed by 0.8 % on average instead of 1.0 %.

    Args:
        measurements: `n` models of one sitting.
        quantile: What is taken of each round.

    Returns:
        Shape `(n,)`, ms.

    Raises:
        JobError: As `compare`.

    Source: median polish, Tukey, Exploratory Data Analysis (1977).
    """
    logs = np.log(_figures(measurements, quantile))
    levels = np.median(logs, axis=1)
    effects = np.zeros(logs.shape[1])
    for _ in range(10):
        effects = np.median(logs - levels[:, None], axis=0)
        effects -= np.median(effects)
        levels = np.median(logs - effects, axis=1)
    return np.asarray(np.exp(levels) / 1e6, dtype=np.float64)


def _figures(measurements: Sequence[Measurement], quantile: float) -> NDArray[np.float64]:
    """Figure of each round in ns, of the passes that all models share: shape `(num_models, num_passes)`."""
    by_pass = []
    for measurement in measurements:
        sitting = measurement.sitting
        if sitting is None or sitting.id != getattr(measurements[0].sitting, "id", None):
            raise JobError(
                f"models to compare must be timed in one sitting, but {measurements[0].id!r} and {measurement.id!r} "
                "were not; measure them together."
            )
        if measurement.target != measurements[0].target:
            raise JobError("models to compare must run on one target, but they do not; measure them together.")
        by_pass.append(dict(zip(sitting.passes, round_quantiles(measurement.rounds, quantile))))
    shared = [number for number in by_pass[0] if all(number in figures for figures in by_pass)]
    if len(shared) < _MIN_PASSES:
        raise JobError(
            f"models to compare must share at least {_MIN_PASSES} passes, but these share {len(shared)}; measure them together."
        )
    return np.array([[figures[number] for number in shared] for figures in by_pass])
