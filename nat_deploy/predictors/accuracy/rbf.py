"""Ensemble of radial basis functions, each on a random part of the features: the surrogate of NAT.

Cubic kernel with a linear tail. Each member sees all architectures but only a random subset of the columns; the median of the
members is the prediction.

Source: the RBF ensemble that NAT (Lu et al., arXiv 2005.05859) uses, as the public reproductions describe it (500 members there;
    30 lose nothing in rank here).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.accuracy.features import Features
from nat_deploy.predictors.accuracy.prediction import AccuracyPrediction

_NUM_MEMBERS = 30
_RIDGE = 1e-8  # on the kernel's diagonal: rows that the chosen columns cannot tell apart would make it singular


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    columns: NDArray[np.int64]
    centres: NDArray[np.float64]
    weights: NDArray[np.float64]

    def predict(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        points = values[:, self.columns]
        num = len(self.centres)
        return np.asarray(_cubic(points, self.centres) @ self.weights[:num] + points @ self.weights[num:-1] + self.weights[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class RbfEnsemble:
    members: tuple[_Member, ...]

    def predict(self, features: Features) -> AccuracyPrediction:
        answers = np.stack([member.predict(features.values) for member in self.members])
        return AccuracyPrediction(mean=np.median(answers, axis=0), std=answers.std(axis=0))


def fit_rbf(features: Features, error_percent: NDArray[np.float64], rng: np.random.Generator) -> RbfEnsemble:
    """Fit `n` errors of shape `(n,)`; a member has fewer columns than distinct architectures, as its linear tail requires."""
    return RbfEnsemble(members=tuple(_fit_member(features.values, error_percent, rng) for _ in range(_NUM_MEMBERS)))


def _fit_member(values: NDArray[np.float64], errors: NDArray[np.float64], rng: np.random.Generator) -> _Member:
    most = min(values.shape[1], max(1, len(values) // 2))
    columns = np.sort(rng.permutation(values.shape[1])[: rng.integers(1, most + 1)])
    centres, inverse = np.unique(values[:, columns], axis=0, return_inverse=True)
    means = np.bincount(inverse.ravel(), errors) / np.bincount(inverse.ravel())  # architectures that look alike share their mean
    num, tail = len(centres), len(columns) + 1
    system = np.zeros((num + tail, num + tail))
    system[:num, :num] = _cubic(centres, centres) + _RIDGE * np.eye(num)
    system[:num, num:-1] = centres
    system[:num, -1] = 1.0
    system[num:, :num] = system[:num, num:].T
    return _Member(columns=columns, centres=centres, weights=_solve(system, np.concatenate([means, np.zeros(tail)])))


def _solve(system: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        return np.asarray(np.linalg.solve(system, target), dtype=np.float64)
    except np.linalg.LinAlgError:  # columns that never vary make the tail singular
        return np.asarray(np.linalg.lstsq(system, target, rcond=1e-10)[0], dtype=np.float64)


def _cubic(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0.0) ** 1.5)
