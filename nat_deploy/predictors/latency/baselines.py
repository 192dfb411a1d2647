"""What a latency predictor must beat: trivial ones that need no table of blocks. Every card prints them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from nat_deploy.predictors.latency.block_index import BlockIndex
from nat_deploy.predictors.latency.prediction import FloatArray
from nat_deploy.spaces import Genes

BaselineName = Literal["macs", "depth", "plain ridge"]
BASELINES: tuple[BaselineName, ...] = get_args(BaselineName)


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline."""

    predict: Callable[[Genes], FloatArray]  # genes (n, num_genes) -> ms, shape (n,)


def fit_baseline(name: BaselineName, index: BlockIndex, genes: Genes, latency_ms: FloatArray) -> Baseline:
    """Fit a baseline on whole networks: genes `(n, num_genes)`, latencies `(n,)`.

    "macs"          a line through the MACs
    "depth"         a line through the number of blocks
    "plain ridge"   ridge of the relative error on sums of physical features per layer type, its strength by cross-validation
    """
    match name:
        case "macs":
            return _line(lambda genes: index.space.count(genes).macs.astype(np.float64), genes, latency_ms)
        case "depth":
            return _line(lambda genes: np.asarray(index.count(genes).sum(axis=1), dtype=np.float64), genes, latency_ms)
        case "plain ridge":
            return _plain_ridge(index, genes, latency_ms)


def _line(quantity: Callable[[Genes], FloatArray], genes: Genes, latency_ms: FloatArray) -> Baseline:
    """Least squares of the relative error, so that it is judged by what it minimises."""
    rows = np.column_stack([np.ones(len(genes)), quantity(genes)])
    weights, *_ = np.linalg.lstsq(rows / latency_ms[:, None], np.ones(len(genes)), rcond=None)
    return Baseline(lambda genes: np.maximum(weights[0] + weights[1] * quantity(genes), 1e-6))


def _plain_ridge(index: BlockIndex, genes: Genes, latency_ms: FloatArray) -> Baseline:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-3, 3, 13)))
    model.fit(index.count(genes) @ index.features_by_type, latency_ms, ridgecv__sample_weight=latency_ms**-2.0)
    return Baseline(lambda genes: np.maximum(model.predict(index.count(genes) @ index.features_by_type), 1e-6))
