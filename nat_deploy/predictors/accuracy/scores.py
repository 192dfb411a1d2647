"""How good predictions were, told on architectures that the surrogate had not seen."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionScores:
    """Agreement of `count` predictions with what was measured afterwards; 0 where a rank correlation is undefined."""

    count: int
    kendall_tau: float
    spearman_rho: float
    rmse: float


def score_predictions(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> PredictionScores:
    """Kendall tau-b, Spearman rho and root mean squared error of two arrays of shape `(n,)`, in the unit of the arrays."""
    if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(measured) == 0:
        tau = rho = 0.0
    else:
        from scipy.stats import kendalltau, spearmanr  # slow to import, and not needed to read a surrogate's answer

        tau, rho = float(kendalltau(predicted, measured).statistic), float(spearmanr(predicted, measured).statistic)
    rmse = math.sqrt(float(np.mean((predicted - measured) ** 2))) if len(predicted) else 0.0
    return PredictionScores(count=len(predicted), kendall_tau=tau, spearman_rho=rho, rmse=rmse)
