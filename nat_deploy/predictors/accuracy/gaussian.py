"""Gaussian process with a linear and a smooth part: for supernets whose accuracy is not nearly a sum."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.accuracy.features import Features
from nat_deploy.predictors.accuracy.prediction import AccuracyPrediction

_MOST_POINTS = 300  # a fit costs O(n^3): 0.5 s at 300 architectures


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianProcess:
    """Features are standardised by `centre` and `scale`, and divided by the root of their number so that a distance is of the order of 1."""

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    regressor: Any  # scikit-learn has no types

    def predict(self, features: Features) -> AccuracyPrediction:
        mean, std = self.regressor.predict(_standardise(features, self.centre, self.scale), return_std=True)
        return AccuracyPrediction(mean=np.asarray(mean), std=np.asarray(std))


def fit_gaussian(features: Features, error_percent: NDArray[np.float64], rng: np.random.Generator) -> GaussianProcess:
    """Fit `n` errors of shape `(n,)`, or a random 300 of them."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    rows = np.sort(rng.permutation(len(error_percent))[:_MOST_POINTS])
    chosen = features.take(rows)
    centre, scale = chosen.values.mean(axis=0), chosen.values.std(axis=0)
    scale[scale == 0] = 1.0
    kernel = ConstantKernel(1.0) * DotProduct(0.0, "fixed") + ConstantKernel(0.3) * RBF(1.0, (0.3, 30.0)) + WhiteKernel(0.05)
    regressor = GaussianProcessRegressor(kernel, normalize_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a variance at its bound only means that its part is not needed
        regressor.fit(_standardise(chosen, centre, scale), error_percent[rows])
    return GaussianProcess(centre=centre, scale=scale, regressor=regressor)


def _standardise(features: Features, centre: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((features.values - centre) / scale / np.sqrt(len(centre)))
