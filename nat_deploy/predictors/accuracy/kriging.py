"""The sum of effects with a smooth correction: follows the truth where the search has looked.

A Gaussian process whose kernel is the additive model's, with the variances that its groups were given, and a smooth one of the distance
of the features. The first ranks a whole space from few architectures; the second bends it where many were evaluated, as a search does near
the front, and says how little is known elsewhere. How much of each, how smooth, and how noisy the errors are, is decided by maximising
the marginal likelihood; where a sum is all there is, the correction shrinks away.

Source: regression kriging (Hengl et al., Computers & Geosciences 33, 2007); Matérn 5/2 and marginal likelihood, Rasmussen and
    Williams, Gaussian Processes for Machine Learning (2006), chapters 4 and 5.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.accuracy.additive import learn_variances
from nat_deploy.predictors.accuracy.features import Features
from nat_deploy.predictors.accuracy.prediction import AccuracyPrediction

_MOST_POINTS = 500  # a fit costs O(n^3): 0.4 s at 350 architectures
_MOST_STEPS = 15
_JITTER = 1e-8
_HYPERPRIOR = 0.04  # weak pull to the start, as in the additive model
_LOG_BOUNDS = ((-3.0, 3.0), (-14.0, 4.0), (-2.5, 2.5), (-14.0, 2.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Covariance of features that are centred: `linear` times their products weighed by `variances`, and `smooth` times a Matérn of their distance.

    variances   prior variance of each column's effect, shape `(f,)`
    scale       by which each column is divided before distances are taken, shape `(f,)`
    length      distance at which smooth corrections lose touch
    """

    variances: NDArray[np.float64]
    scale: NDArray[np.float64]
    linear: float
    smooth: float
    length: float

    def __call__(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shape `(len(a), len(b))`."""
        return self.linear * (a * self.variances) @ b.T + self.smooth * _matern(
            _distance(a / self.scale, b / self.scale) / self.length
        )

    def diagonal(self, a: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.linear * (a**2) @ self.variances + self.smooth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kriging:
    """Posterior for features centred on `centre` and errors scaled by `scale` around `offset`; `inverse` is that of the points' covariance with noise."""

    centre: NDArray[np.float64]
    offset: float
    scale: float
    kernel: Kernel
    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    inverse: NDArray[np.float64]

    def predict(self, features: Features) -> AccuracyPrediction:
        centred = features.values - self.centre
        shared = self.kernel(centred, self.points)
        variance = self.kernel.diagonal(centred) - ((shared @ self.inverse) * shared).sum(axis=1)
        return AccuracyPrediction(
            mean=self.offset + self.scale * (shared @ self.weights), std=self.scale * np.sqrt(np.maximum(variance, _JITTER))
        )


def fit_kriging(features: Features, error_percent: NDArray[np.float64], rng: np.random.Generator) -> Kriging:
    """Fit `n` errors of shape `(n,)`, or a random 500 of them."""
    rows = np.sort(rng.permutation(len(error_percent))[:_MOST_POINTS])
    chosen, errors = features.take(rows), error_percent[rows]
    centre = chosen.values.mean(axis=0)
    offset, scale = float(errors.mean()), float(errors.std()) or 1.0
    points, targets = chosen.values - centre, (errors - offset) / scale
    spread = chosen.values.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0) * np.sqrt(len(spread))  # a distance is of the order of 1
    variances, noise = learn_variances(chosen.groups, points, targets)
    likelihood = _Likelihood(
        products=(points * variances) @ points.T,
        distance=_distance(points / spread, points / spread),
        targets=targets,
        noise=noise,
    )
    linear, smooth, length, noise = np.exp(likelihood.maximise())
    kernel = Kernel(variances=variances, scale=spread, linear=linear, smooth=smooth, length=length)
    inverse = np.linalg.inv(kernel(points, points) + (noise + _JITTER) * np.eye(len(points)))
    return Kriging(
        centre=centre, offset=offset, scale=scale, kernel=kernel, points=points, weights=inverse @ targets, inverse=inverse
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Likelihood:
    """Of the targets, by the logarithms of (linear, smooth, length, noise)."""

    products: NDArray[np.float64]
    distance: NDArray[np.float64]
    targets: NDArray[np.float64]
    noise: float

    @property
    def start(self) -> NDArray[np.float64]:
        return np.log([1.0, self.noise / 2, 1.0, self.noise / 2])

    def maximise(self) -> NDArray[np.float64]:
        """Uphill from the best of a few: the likelihood has a peak where all is noise and one where nothing is."""
        from scipy.optimize import minimize

        low, high = np.transpose(_LOG_BOUNDS)
        steps = itertools.product((0.0,), (0.0, 2.0), (-1.0, 0.0, 1.0), (-4.0, 0.0))
        tried = [np.clip(self.start + np.array(step), low, high) for step in steps]
        best = min(tried, key=lambda logs: self.negative_log(logs)[0])
        found = minimize(
            self.negative_log, best, jac=True, method="L-BFGS-B", bounds=_LOG_BOUNDS, options={"maxiter": _MOST_STEPS}
        )
        return np.asarray(found.x)

    def negative_log(self, logs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Value, without its constant and with the pull to the start, and gradient."""
        linear, smooth, length, noise = np.exp(logs)
        ratio = self.distance / length
        near = _matern(ratio)
        inverse = np.linalg.inv(
            covariance := linear * self.products + smooth * near + (noise + _JITTER) * np.eye(len(self.targets))
        )
        weights = inverse @ self.targets
        pull = logs - self.start
        value = 0.5 * (float(self.targets @ weights) + float(np.linalg.slogdet(covariance)[1]) + _HYPERPRIOR * float(pull @ pull))
        slope = inverse - weights[:, None] * weights
        by_length = smooth * _matern_by_log_length(ratio)
        parts = (linear * self.products, smooth * near, by_length)
        gradient = [0.5 * float((slope * part).sum()) for part in parts] + [0.5 * noise * float(np.trace(slope))]
        return value, np.array(gradient) + _HYPERPRIOR * pull


def _matern(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matérn 5/2: twice differentiable."""
    root = np.sqrt(5.0) * distance
    return np.asarray((1.0 + root + root**2 / 3.0) * np.exp(-root))


def _matern_by_log_length(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Its slope in the logarithm of the length, at distances that were divided by the length."""
    root = np.sqrt(5.0) * distance
    return np.asarray(root**2 * (1.0 + root) / 3.0 * np.exp(-root))


def _distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))
