"""How long a network takes on a device, with an interval, without running it."""

from nat_deploy.predictors.latency.additive import (
    MIN_NETWORKS,
    AdditivePredictor,
    Observations,
    fit_on_networks,
    fit_predictor,
    measured_index,
    predictor_from_table,
    table_observations,
)
from nat_deploy.predictors.latency.baselines import BASELINES, Baseline, BaselineName, fit_baseline
from nat_deploy.predictors.latency.block_index import BlockIndex
from nat_deploy.predictors.latency.card import Card, CardRow, make_card, repeatability
from nat_deploy.predictors.latency.prediction import LatencyPredictor, Prediction
from nat_deploy.predictors.latency.refit import LevelledPredictor, MeasuredSitting, TablePredictor
from nat_deploy.predictors.latency.scores import Scores, score
from nat_deploy.predictors.latency.table import (
    STATISTICS,
    BlockEntry,
    LatencyTable,
    NetworkEntry,
    OverheadEntry,
    Provenance,
    Statistic,
    Timing,
    table_path,
)
from nat_deploy.predictors.latency.table_file import load_table, save_table, table_json

__all__ = [
    "BASELINES",
    "MIN_NETWORKS",
    "STATISTICS",
    "AdditivePredictor",
    "Baseline",
    "BaselineName",
    "BlockEntry",
    "BlockIndex",
    "Card",
    "CardRow",
    "LatencyPredictor",
    "LatencyTable",
    "LevelledPredictor",
    "MeasuredSitting",
    "NetworkEntry",
    "Observations",
    "OverheadEntry",
    "Prediction",
    "Provenance",
    "Scores",
    "Statistic",
    "TablePredictor",
    "Timing",
    "fit_baseline",
    "fit_on_networks",
    "fit_predictor",
    "load_table",
    "make_card",
    "measured_index",
    "predictor_from_table",
    "repeatability",
    "save_table",
    "score",
    "table_json",
    "table_observations",
    "table_path",
]
