"""Rank correlation of the accuracy surrogates on measured ImageNet accuracies.

Each draw takes 100 or 300 random architectures for the fit and 800 others for the score. Beside our surrogates stand the plain ones that searches use, on the
genes as the papers encode them: one cubic RBF with a linear tail (SciPy), a Gaussian process and xgboost with their defaults.

    python benchmarks/accuracy_surrogates.py ofa_accuracy.csv
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import circumstances
from nat_deploy.predictors.accuracy import (
    ACCURACY_METHODS,
    AccuracyMethod,
    choose_surrogate,
    fit_surrogate,
    score_predictions,
)
from nat_deploy.spaces import Architecture, Genes, SearchSpace, make_space

NUM_TEST = 800
PlainMethod = Literal["plain rbf", "plain gp", "plain xgboost"]
PLAIN_METHODS: tuple[PlainMethod, ...] = ("plain rbf", "plain gp", "plain xgboost")
STAGE_LENGTH = 4


def read_accuracies(path: Path, space: SearchSpace) -> tuple[Genes, NDArray[np.float64]]:
    """Genes, shape `(n, 22)`, and top-1 error in percent, shape `(n,)`, of a table that lists all 20 layers, active or not."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    genes = np.stack([space.encode(_architecture(row, space)) for row in rows])
    return genes, np.array([100.0 - float(row["top1_percent"]) for row in rows])


def _architecture(row: dict[str, str], space: SearchSpace) -> Architecture:
    depth, kernel, expand = (tuple(int(value) for value in row[key].split()) for key in ("depth", "kernel", "expand"))
    active = [STAGE_LENGTH * stage + position for stage, layers in enumerate(depth) for position in range(layers)]
    return Architecture(
        space=space.name,
        resolution=int(row["resolution"]),
        depth=depth,
        kernel=tuple(kernel[layer] for layer in active),
        expand=tuple(expand[layer] for layer in active),
    )


def benchmark(
    method: AccuracyMethod | PlainMethod | None,
    num_train: int,
    num_draws: int,
    space: SearchSpace,
    genes: Genes,
    error: NDArray[np.float64],
) -> None:
    """`None` stands for the choice by cross-validation."""
    scores, seconds = [], []
    for draw in range(num_draws):
        rng = np.random.default_rng(draw)
        order = rng.permutation(len(error))
        train, test = order[:num_train], order[num_train : num_train + NUM_TEST]
        start = time.perf_counter()
        if method is None:
            mean = choose_surrogate(space, genes[train], error[train], rng).predict(genes[test]).mean
        elif method in ACCURACY_METHODS:
            mean = fit_surrogate(method, space, genes[train], error[train], rng).predict(genes[test]).mean
        else:
            varied = space.gene_upper > space.gene_lower
            scaled = ((genes - space.gene_lower) / np.maximum(space.gene_upper - space.gene_lower, 1))[:, varied]
            mean = plain(method, scaled[train], error[train], scaled[test])
        seconds.append(time.perf_counter() - start)
        scores.append(score_predictions(mean, error[test]))
    taus = np.array([score.kendall_tau for score in scores])
    rmse = np.mean([score.rmse for score in scores])
    name = method or "chosen"
    print(
        f"{name:13} {num_train:4}  tau {taus.mean():.3f} ± {taus.std():.3f}  rmse {rmse:.2f} %  {np.median(seconds):.2f} s",
        flush=True,
    )


def plain(method: str, genes: NDArray[np.float64], error: NDArray[np.float64], asked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors that a library's surrogate predicts from genes scaled to 0..1."""
    match method:
        case "plain rbf":
            from scipy.interpolate import RBFInterpolator

            return np.asarray(RBFInterpolator(genes, error, kernel="cubic", degree=1, smoothing=1e-8)(asked))
        case "plain gp":
            from sklearn.gaussian_process import GaussianProcessRegressor
            from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

            kernel = ConstantKernel() * RBF(1.0) + WhiteKernel()
            return np.asarray(GaussianProcessRegressor(kernel, normalize_y=True).fit(genes, error).predict(asked))
        case _:
            import xgboost

            return np.asarray(xgboost.XGBRegressor(n_jobs=1).fit(genes, error).predict(asked), dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path, help="table with resolution, depth, kernel, expand, top1_percent")
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()
    print(circumstances("natdeploy", "scikit-learn", "xgboost-cpu"))
    space = make_space("ofa-mbv3-w1.0")
    genes, error = read_accuracies(options.csv, space)
    for num_train in (100, 300):
        for method in (*ACCURACY_METHODS, None, *PLAIN_METHODS):
            benchmark(method, num_train, options.draws, space, genes, error)


if __name__ == "__main__":
    main()
