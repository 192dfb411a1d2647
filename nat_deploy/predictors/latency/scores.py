"""How close predictions come to measurements."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from nat_deploy.predictors.latency.prediction import FloatArray, Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Agreement over networks; shares are in 0..1. A rank correlation of constant predictions is 0."""

    num_networks: int
    within_5: float  # share of networks predicted within +-5 %
    within_10: float
    mape: float  # mean absolute error as a share of the measurement
    kendall_tau: float
    spearman: float
    coverage: float | None = None  # share of measurements inside their predicted interval
    half_width: float | None = None  # of a usual interval, as a share


def score(predicted: FloatArray | Prediction, measured_ms: FloatArray) -> Scores:
    """Compare predictions with measurements of the same `n >= 2` networks; both of shape `(n,)`, in ms."""
    value = predicted.value if isinstance(predicted, Prediction) else predicted
    error = np.abs(value / measured_ms - 1)
    interval: tuple[float | None, float | None] = (None, None)
    if isinstance(predicted, Prediction):
        held = (predicted.low <= measured_ms) & (measured_ms <= predicted.high)
        interval = float(held.mean()), float(np.median(np.log(predicted.high / predicted.low)) / 2)
    ranks_differ = np.ptp(value) > 0 and np.ptp(measured_ms) > 0
    return Scores(
        num_networks=len(measured_ms),
        within_5=float((error <= 0.05).mean()),
        within_10=float((error <= 0.10).mean()),
        mape=float(error.mean()),
        kendall_tau=float(stats.kendalltau(value, measured_ms).statistic) if ranks_differ else 0.0,
        spearman=float(stats.spearmanr(value, measured_ms).statistic) if ranks_differ else 0.0,
        coverage=interval[0],
        half_width=interval[1],
    )
