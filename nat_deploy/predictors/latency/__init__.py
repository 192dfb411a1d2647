"""How long a network takes on a device, with an interval, without running it."""

from nat_deploy.predictors.latency.additive import (
    FEW_NETWORKS,
    MIN_NETWORKS,
    AdditivePredictor,
    fit_on_networks,
    fit_predictor,
    is_sum_of_blocks,
    predictor_from_table,
)
from nat_deploy.predictors.latency.baselines import BASELINES, Baseline, BaselineName, fit_baseline
from nat_deploy.predictors.latency.block_index import BlockIndex
from nat_deploy.predictors.latency.block_sum import BlockSumPredictor, fit_block_sum
from nat_deploy.predictors.latency.card import Card, CardRow, make_card, repeatability
from nat_deploy.predictors.latency.observations import Observations, measured_index, table_observations
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
    Source,
    Statistic,
    Timing,
    table_path,
)
from nat_deploy.predictors.latency.table_file import load_table, save_table, table_json

__all__ = [
    "BASELINES",
    "FEW_NETWORKS",
    "MIN_NETWORKS",
    "STATISTICS",
    "AdditivePredictor",
    "Baseline",
    "BaselineName",
    "BlockEntry",
    "BlockIndex",
    "BlockSumPredictor",
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
    "Source",
    "Statistic",
    "TablePredictor",
    "Timing",
    "fit_baseline",
    "fit_block_sum",
    "fit_on_networks",
    "fit_predictor",
    "is_sum_of_blocks",
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
