"""Boosted trees (xgboost), a few ensembles on different parts of the data: for interactions and steps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.accuracy.features import Features
from nat_deploy.predictors.accuracy.prediction import AccuracyPrediction

_NUM_MEMBERS = 4
_NUM_ROUNDS = 200
_PARAMETERS = {"max_depth": 3, "eta": 0.05, "subsample": 0.7, "colsample_bytree": 0.5, "nthread": 1, "verbosity": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostedTrees:
    members: tuple[Any, ...]  # xgboost boosters

    def predict(self, features: Features) -> AccuracyPrediction:
        answers = np.stack([np.asarray(member.inplace_predict(features.values), dtype=np.float64) for member in self.members])
        return AccuracyPrediction(mean=answers.mean(axis=0), std=answers.std(axis=0))


def fit_trees(features: Features, error_percent: NDArray[np.float64], rng: np.random.Generator) -> BoostedTrees:
    """Fit `n` errors of shape `(n,)`; the members differ in the rows and columns that their trees see."""
    import xgboost

    data = xgboost.DMatrix(features.values, label=error_percent, nthread=1)
    seeds = rng.integers(2**31, size=_NUM_MEMBERS)
    parameters = _PARAMETERS | {"base_score": float(error_percent.mean())}
    return BoostedTrees(members=tuple(xgboost.train(parameters | {"seed": int(seed)}, data, _NUM_ROUNDS) for seed in seeds))
