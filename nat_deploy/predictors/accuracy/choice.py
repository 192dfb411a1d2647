"""Which surrogate, decided by cross-validation on the architectures at hand."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.accuracy.additive import fit_additive
from nat_deploy.predictors.accuracy.features import Features, accuracy_features
from nat_deploy.predictors.accuracy.gaussian import fit_gaussian
from nat_deploy.predictors.accuracy.kriging import fit_kriging
from nat_deploy.predictors.accuracy.mlp import fit_mlp
from nat_deploy.predictors.accuracy.prediction import AccuracyPrediction
from nat_deploy.predictors.accuracy.rbf import fit_rbf
from nat_deploy.predictors.accuracy.scores import PredictionScores, score_predictions
from nat_deploy.predictors.accuracy.trees import fit_trees
from nat_deploy.spaces import Genes, SearchSpace

AccuracyMethod = Literal["additive", "kriging", "rbf", "gaussian", "trees", "mlp"]
ACCURACY_METHODS: tuple[AccuracyMethod, ...] = ("additive", "kriging", "rbf", "gaussian", "trees", "mlp")
COMPARED_METHODS: tuple[AccuracyMethod, ...] = ("kriging", "trees")
"""One of each kind: a sum that bends smoothly, and steps. The others take most of the time and have not ranked better on measured accuracies."""

CLEARLY = 0.05
"""How much higher the tau of another than the first method must be. A search needs more than a ranking of the whole archive: where boosted trees were the truth, searches that
took them whenever they ranked higher found less than those with this rule (`benchmarks/search_surrogate_world.py`, world "trees")."""

_FEWEST_TO_COMPARE = 20
_MOST_TO_COMPARE = 300  # a choice needs no more, and the methods' costs grow


class AccuracyPredictor(Protocol):
    """Predicts the top-1 error of architectures of one space."""

    def predict(self, genes: Genes) -> AccuracyPrediction:
        """Errors of gene strings of shape `(n, num_genes)`."""
        ...


class _Model(Protocol):
    def predict(self, features: Features) -> AccuracyPrediction: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrogate:
    """A model fitted on features, bound to the space whose genes it reads."""

    space: SearchSpace
    method: AccuracyMethod
    model: _Model

    def predict(self, genes: Genes) -> AccuracyPrediction:
        return self.model.predict(accuracy_features(self.space, genes))


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodScores:
    """Cross-validated scores of one method; every prediction is for an architecture left out of the fit."""

    method: AccuracyMethod
    scores: PredictionScores


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenSurrogate:
    """The surrogate of the chosen method, fitted on everything; no scores when there was no choice to make."""

    surrogate: Surrogate
    scores: tuple[MethodScores, ...]

    def predict(self, genes: Genes) -> AccuracyPrediction:
        return self.surrogate.predict(genes)


def fit_surrogate(
    method: AccuracyMethod, space: SearchSpace, genes: Genes, error_percent: NDArray[np.float64], rng: np.random.Generator
) -> Surrogate:
    """Fit one method.

    Args:
        method: One of `ACCURACY_METHODS`.
        space: The space of the genes.
        genes: At least 2 architectures, shape `(n, num_genes)`.
        error_percent: Their top-1 errors, shape `(n,)`.
        rng: For the random parts of ensembles.
    """
    return Surrogate(space=space, method=method, model=_fit(method, accuracy_features(space, genes), error_percent, rng))


def choose_surrogate(
    space: SearchSpace,
    genes: Genes,
    error_percent: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    methods: tuple[AccuracyMethod, ...] = COMPARED_METHODS,
    num_folds: int = 3,
) -> ChosenSurrogate:
    """Compare methods by cross-validated Kendall tau and fit one on all architectures: the first, unless another's tau is clearly higher.

    With fewer than 20 architectures the first method is taken: a tau of so few points is chance. With more than 300, a random 300
    decide.
    """
    features = accuracy_features(space, genes)
    scores: tuple[MethodScores, ...] = ()
    best = methods[0]
    if len(methods) > 1 and len(genes) >= _FEWEST_TO_COMPARE:
        rows = rng.permutation(len(genes))[:_MOST_TO_COMPARE]
        scores = tuple(_cross_validate(method, features.take(rows), error_percent[rows], rng, num_folds) for method in methods)
        best = _choose(scores)
    surrogate = Surrogate(space=space, method=best, model=_fit(best, features, error_percent, rng))
    return ChosenSurrogate(surrogate=surrogate, scores=scores)


def _choose(scores: tuple[MethodScores, ...]) -> AccuracyMethod:
    first, best = scores[0], max(scores, key=lambda score: score.scores.kendall_tau)
    return best.method if best.scores.kendall_tau > first.scores.kendall_tau + CLEARLY else first.method


def _cross_validate(
    method: AccuracyMethod, features: Features, error_percent: NDArray[np.float64], rng: np.random.Generator, num_folds: int
) -> MethodScores:
    """Rows are in random order already; fold `i` is every `num_folds`-th row from `i` on, the same for every method."""
    rows = np.arange(len(error_percent))
    predicted = np.empty(len(rows))
    for fold in range(num_folds):
        held_out = rows % num_folds == fold
        model = _fit(method, features.take(rows[~held_out]), error_percent[~held_out], rng)
        predicted[held_out] = model.predict(features.take(rows[held_out])).mean
    return MethodScores(method=method, scores=score_predictions(predicted, error_percent))


def _fit(method: AccuracyMethod, features: Features, error_percent: NDArray[np.float64], rng: np.random.Generator) -> _Model:
    match method:
        case "additive":
            return fit_additive(features, error_percent)
        case "kriging":
            return fit_kriging(features, error_percent, rng)
        case "rbf":
            return fit_rbf(features, error_percent, rng)
        case "gaussian":
            return fit_gaussian(features, error_percent, rng)
        case "trees":
            return fit_trees(features, error_percent, rng)
        case "mlp":
            return fit_mlp(features, error_percent, rng)
