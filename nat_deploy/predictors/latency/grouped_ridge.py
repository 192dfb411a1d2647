"""Linear regression whose weights come in groups: how far the weights of a group may stray from zero is learned from the data.

It is ridge regression with one strength per group, or, said the other way round, a Gaussian process with one linear kernel per
group. The strengths and the noise are those under which the data are most likely (type II maximum likelihood; MacKay 1992,
Rasmussen & Williams 2006, chapter 5), so there is nothing to tune. Rows that disagree with all others lose weight, as under a
Student-t noise.

Leave-one-out residuals cost nothing extra (Rasmussen & Williams, equations 5.10 to 5.12).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from nat_deploy.predictors.latency.prediction import FloatArray

_LOG_SCALE_BOUNDS = (-9.0, 4.0)
_LOG_NOISE_BOUNDS = (-7.5, 0.0)
_FIRST_GROUP_LOG_SCALE, _OTHER_LOG_SCALE, _LOG_NOISE = 0.0, -2.0, -4.0
# How far these logs may stray from where they start: keeps them finite where the data say nothing, and few rows from claiming no noise.
_SCALE_PRIOR, _NOISE_PRIOR = 3.0, 1.0
_OUTLIER = 2.5  # leave-one-out errors beyond so many standard deviations are outliers
_WILD, _LEAST_SPREAD = 5.0, 0.05  # targets beyond so many robust standard deviations are doubted from the start
_ROBUST_PASSES = 8
_COMMON_NOISE = 0.5  # correlation of what is not explained of two measurements of the same thing
_MOST_ROWS = 300  # strengths are learned from so many rows, since learning them takes their cube; the weights from all


@dataclass(frozen=True, kw_only=True)
class GroupedRidge:
    """A fitted regression.

    weights         shape `(p,)`
    factor          shape `(p, p)` at most; `factor @ factor.T` is the posterior covariance of the weights
    noise           standard deviation of the noise of each kind of row
    targets         shape `(n,)`: what was fitted
    loo_residuals   shape `(n,)`: target minus what the rows of other things predict
    loo_std         shape `(n,)`: standard deviation of these, without the doubt cast on outliers
    """

    weights: FloatArray
    factor: FloatArray
    noise: FloatArray
    targets: FloatArray
    loo_residuals: FloatArray
    loo_std: FloatArray


# The matrices are small: a second thread gains nothing, and where other work holds the cores its waiting takes ten times as long.
@threadpool_limits.wrap(limits=1, user_api="blas")  # type: ignore[untyped-decorator]
def fit_grouped_ridge(
    features: Sequence[FloatArray],
    targets: FloatArray,
    *,
    kinds: NDArray[np.int64],
    known_noise: FloatArray,
    together: NDArray[np.int64] | None = None,
) -> GroupedRidge:
    """Fit `targets = sum of features[g] @ weights[g] + noise`.

    Args:
        features: One array `(n, p_g)` per group, the first being the one expected to explain most.
        targets: Shape `(n,)`, of the order of 1.
        kinds: Shape `(n,)`: which noise level a row has, counted from 0; every level is learned.
        known_noise: Shape `(n,)`: standard deviation of each row's own measurement, added to the learned level.
        together: Shape `(n,)`: rows with the same number are measurements of the same thing; they are left out together, and
            half of the variance that is learned as noise is common to them. By default every row is its own.
    """
    num_groups, num_levels = len(features), int(kinds.max()) + 1
    scales = [_scales(group) for group in features]
    design = np.concatenate(features, axis=1)
    alike = np.eye(len(targets)) if together is None else _alike(together)
    some = np.sort(np.random.default_rng(0).permutation(len(targets))[:_MOST_ROWS])
    scaled = [group[some] * scale for group, scale in zip(features, scales, strict=True)]
    kernels = [group @ group.T for group in scaled]
    kernels += [alike[np.ix_(some, some)] * np.outer(kinds[some] == kind, kinds[some] == kind) for kind in range(num_levels)]
    start = np.array([_FIRST_GROUP_LOG_SCALE, *[_OTHER_LOG_SCALE] * (num_groups - 1), *[_LOG_NOISE] * num_levels])
    doubt = _first_doubt(targets, kinds)
    logs = start
    for _ in range(_ROBUST_PASSES):
        logs = _most_likely(logs, start, kernels, targets[some], (known_noise**2 + doubt)[some], num_groups)
        prior = np.concatenate([np.exp(log) * scale for log, scale in zip(logs, scales, strict=False)])
        half = design * prior  # (n, p): the prior covariance of the weights is the square of `prior`
        noise = np.exp(logs[num_groups:])
        unexplained = alike * np.outer(noise[kinds], noise[kinds]) * np.equal.outer(kinds, kinds)
        lower, alpha = _solve(half @ half.T + unexplained, targets, known_noise**2 + doubt)
        residuals, loo_variance = _left_out(lower, alpha, np.arange(len(targets)) if together is None else together)
        loo_std = np.sqrt(np.maximum(loo_variance - doubt, noise[kinds] ** 2 + known_noise**2))
        doubted = np.maximum(0, residuals**2 - (_OUTLIER * loo_std) ** 2)
        if np.allclose(doubted, doubt, rtol=0.2, atol=1e-5):
            break
        doubt = doubted
    return GroupedRidge(
        weights=prior * (half.T @ alpha),
        factor=_posterior_factor(half, lower, prior),
        noise=noise,
        targets=targets,
        loo_residuals=residuals,
        loo_std=loo_std,
    )


def _alike(together: NDArray[np.int64]) -> FloatArray:
    """Correlation of what is not explained of two rows, `(n, n)`."""
    alike = np.where(np.equal.outer(together, together), _COMMON_NOISE, 0.0)
    np.fill_diagonal(alike, 1.0)
    return alike


def _left_out(lower: FloatArray, alpha: FloatArray, together: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """What is left of each target when it and its like are predicted from all others, and the variance of that; each `(n,)`."""
    precision = cho_solve((lower, True), np.eye(len(alpha)))
    variance = 1 / np.diag(precision)
    residuals = alpha * variance
    numbers, counts = np.unique(together, return_counts=True)
    for number in numbers[counts > 1]:
        rows = np.flatnonzero(together == number)
        covariance = np.linalg.inv(precision[np.ix_(rows, rows)])
        residuals[rows] = covariance @ alpha[rows]
        variance[rows] = np.diag(covariance)
    return residuals, variance


def _first_doubt(targets: FloatArray, kinds: NDArray[np.int64]) -> FloatArray:
    """Variance added to rows that are far from all others of their kind before anything is fitted: one wild row at the edge of
    the features would bend the fit until it looks tame."""
    middle = np.array([np.median(targets[kinds == kind]) if (kinds == kind).any() else 0 for kind in range(int(kinds.max()) + 1)])
    away = np.abs(targets - middle[kinds])
    usual = max(1.4826 * float(np.median(away[kinds == kinds.min()])), _LEAST_SPREAD)
    return np.where(away > _WILD * usual, away**2, 0.0)


def _scales(group: FloatArray) -> FloatArray:
    """One over the root mean square of each column where it is not zero; columns never seen get the middle of the others, so
    that they are uncertain."""
    seen = (group != 0).sum(axis=0)
    size = np.sqrt((group**2).sum(axis=0) / np.maximum(seen, 1))
    usual = np.median(size[seen > 0]) if seen.any() else 1.0
    return np.asarray(1 / np.where(seen > 0, size, usual))


def _solve(covariance: FloatArray, targets: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
    lower = cholesky(covariance + np.diag(variance + 1e-12), lower=True)
    return lower, cho_solve((lower, True), targets)


def _most_likely(
    logs: FloatArray,
    centre: FloatArray,
    kernels: list[FloatArray],
    targets: FloatArray,
    variance: FloatArray,
    num_groups: int,
) -> FloatArray:
    """Log scales of the groups and, after them, log noise levels that make the data most likely."""
    num_levels = len(kernels) - num_groups
    widths = np.array([_SCALE_PRIOR] * num_groups + [_NOISE_PRIOR] * num_levels)

    def loss(logs: FloatArray) -> tuple[float, FloatArray]:
        strengths = np.exp(2 * logs)
        covariance = sum((strength * kernel for strength, kernel in zip(strengths, kernels, strict=True)), np.zeros(()))
        lower, alpha = _solve(covariance, targets, variance)
        slope = cho_solve((lower, True), np.eye(len(targets))) - np.outer(alpha, alpha)
        gradient = strengths * [np.vdot(slope, kernel) for kernel in kernels]
        strayed = (logs - centre) / widths
        value = 0.5 * targets @ alpha + np.log(np.diag(lower)).sum() + 0.5 * strayed @ strayed
        return float(value), gradient + strayed / widths

    bounds = [_LOG_SCALE_BOUNDS] * num_groups + [_LOG_NOISE_BOUNDS] * num_levels
    return np.asarray(minimize(loss, logs, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60, "ftol": 1e-7}).x)


def _posterior_factor(half: FloatArray, lower: FloatArray, prior: FloatArray) -> FloatArray:
    """A matrix whose square is `P - P X' C^-1 X P` with `P = diag(prior^2)`, by the eigenvectors of the part between."""
    explained = solve_triangular(lower, half, lower=True)
    values, vectors = np.linalg.eigh(np.eye(len(prior)) - explained.T @ explained)
    return np.asarray(prior[:, None] * vectors * np.sqrt(np.maximum(values, 0)))
