"""Multilayer perceptrons, a few from different random weights: the predictor of Once-for-all's own search, small enough for hundreds of points.

Source: Once-for-all (Cai et al., ICLR 2020), section 3.4, whose predictor has three layers of 400 units and 16,000 architectures to learn from; with a few
hundred, a narrow one with weight decay ranks better here.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.accuracy.features import Features
from nat_deploy.predictors.accuracy.prediction import AccuracyPrediction

_NUM_MEMBERS = 4
_HIDDEN = 16
_WEIGHT_DECAY = 10.0
_MOST_STEPS = 100
_MOST_POINTS = 1000  # a fit's cost grows with them, its accuracy hardly


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpEnsemble:
    """Features are standardised by `centre` and `scale`, errors by `mean` and `std`."""

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    mean: float
    std: float
    members: tuple[Any, ...]  # scikit-learn has no types

    def predict(self, features: Features) -> AccuracyPrediction:
        values = (features.values - self.centre) / self.scale
        answers = self.mean + self.std * np.stack(
            [np.asarray(member.predict(values), dtype=np.float64) for member in self.members]
        )
        return AccuracyPrediction(mean=answers.mean(axis=0), std=answers.std(axis=0))


def fit_mlp(features: Features, error_percent: NDArray[np.float64], rng: np.random.Generator) -> MlpEnsemble:
    """Fit `n` errors of shape `(n,)`, or a random 1,000 of them."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    rows = np.sort(rng.permutation(len(error_percent))[:_MOST_POINTS])
    chosen, errors = features.values[rows], error_percent[rows]
    centre, scale = chosen.mean(axis=0), chosen.std(axis=0)
    scale[scale == 0] = 1.0
    mean, std = float(errors.mean()), float(errors.std())
    members = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is part of the method
        for seed in rng.integers(2**31, size=_NUM_MEMBERS):
            member = MLPRegressor(
                hidden_layer_sizes=(_HIDDEN,), solver="lbfgs", alpha=_WEIGHT_DECAY, max_iter=_MOST_STEPS, random_state=int(seed)
            )
            members.append(member.fit((chosen - centre) / scale, (errors - mean) / (std or 1.0)))
    return MlpEnsemble(centre=centre, scale=scale, mean=mean, std=std, members=tuple(members))
