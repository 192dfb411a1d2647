"""Accuracy surrogates: top-1 error of an architecture from a few hundred evaluated ones, with a spread."""

from nat_deploy.predictors.accuracy.choice import (
    ACCURACY_METHODS,
    COMPARED_METHODS,
    AccuracyMethod,
    AccuracyPredictor,
    ChosenSurrogate,
    MethodScores,
    choose_surrogate,
    fit_surrogate,
)
from nat_deploy.predictors.accuracy.features import Features, accuracy_features
from nat_deploy.predictors.accuracy.prediction import AccuracyPrediction
from nat_deploy.predictors.accuracy.scores import PredictionScores, score_predictions

__all__ = [
    "ACCURACY_METHODS",
    "COMPARED_METHODS",
    "AccuracyMethod",
    "AccuracyPrediction",
    "AccuracyPredictor",
    "ChosenSurrogate",
    "Features",
    "MethodScores",
    "PredictionScores",
    "accuracy_features",
    "choose_surrogate",
    "fit_surrogate",
    "score_predictions",
]
