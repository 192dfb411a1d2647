"""Latency prediction on public labels: 5,000 Once-for-all subnets measured on two GPUs with batch 64.

    python benchmarks/latency_prediction_ofa.py OFA_LATENCY.csv [--draws 10]

The file has columns resolution, depth, kernel, expand (20 slots each, separated by blanks) and one `*_ms` column per device;
the labels come from HELP (Lee et al., NeurIPS 2021). Every method is fitted on the same random networks and scored on the same
1,000 unseen ones; the table shows means over the draws.
"""

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from xgboost import XGBRegressor

from benchmarks.machine import circumstances
from nat_deploy.predictors.latency import BlockIndex, Prediction, Scores, fit_baseline, fit_on_networks, score
from nat_deploy.predictors.latency.prediction import FloatArray
from nat_deploy.spaces import Architecture, Genes, make_space
from profilers.target import Target

RESOLUTIONS = tuple(range(128, 225, 4))
DEVICES = ("titan_rtx_64_ms", "v100_64_ms")
NUM_FITTED = (30, 100, 300)
NUM_UNSEEN = 1000
GPU = Target(device="gpu", runtime="pytorch", runtime_version="1", precision="fp32", threads=1, batch_size=64)

Method = Callable[[BlockIndex, Genes, FloatArray, Genes], Prediction | FloatArray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--draws", type=int, default=10)
    arguments = parser.parse_args()
    print(circumstances("natdeploy", "numpy", "xgboost-cpu"))
    index = BlockIndex(make_space("ofa-mbv3-w1.0", resolutions=RESOLUTIONS))
    genes, labels = read_labels(arguments.file, index)
    print(f"{'':14}{'':5}{'':18}{'MAPE':>8}{'worst':>8}{'+-5 %':>8}{'+-10 %':>8}{'tau':>7}{'in 95 %':>9}{'fit':>9}")
    for device, latency_ms in labels.items():
        for num_fitted in NUM_FITTED:
            for name, method in METHODS.items():
                print(
                    device,
                    f"{num_fitted:5}  {name:16}",
                    _row(index, genes, latency_ms, method, num_fitted, arguments.draws),
                    flush=True,
                )


def read_labels(path: Path, index: BlockIndex, devices: Sequence[str] = DEVICES) -> tuple[Genes, dict[str, FloatArray]]:
    """Genes of shape `(n, num_genes)` and the latencies of each device, `(n,)`."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    genes = np.array([index.space.encode(_architecture(row)) for row in rows])
    return genes, {device: np.array([float(row[device]) for row in rows]) for device in devices}


def _architecture(row: dict[str, str]) -> Architecture:
    depth, kernel, expand = (tuple(int(value) for value in row[name].split()) for name in ("depth", "kernel", "expand"))
    active = [4 * stage + place for stage in range(5) for place in range(depth[stage])]
    return Architecture(
        space="ofa-mbv3-w1.0",
        resolution=int(row["resolution"]),
        depth=depth,
        kernel=tuple(kernel[slot] for slot in active),
        expand=tuple(expand[slot] for slot in active),
    )


def _row(index: BlockIndex, genes: Genes, latency_ms: FloatArray, method: Method, num_fitted: int, draws: int) -> str:
    scores: list[Scores] = []
    started = time.perf_counter()
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(genes))
        fitted, unseen = order[:num_fitted], order[num_fitted : num_fitted + NUM_UNSEEN]
        scores.append(score(method(index, genes[fitted], latency_ms[fitted], genes[unseen]), latency_ms[unseen]))
    seconds = (time.perf_counter() - started) / draws
    mape, within_5, within_10, tau = (
        np.mean([getattr(s, name) for s in scores]) for name in ("mape", "within_5", "within_10", "kendall_tau")
    )
    coverages = [s.coverage for s in scores if s.coverage is not None]
    coverage = f"{100 * np.mean(coverages):.1f} %" if coverages else "-"
    worst = max(s.mape for s in scores)
    shares = "".join(f"{100 * share:6.1f} %" for share in (within_5, within_10))
    return f"{100 * mape:6.2f} %{100 * worst:6.2f} %{shares}{tau:7.3f}{coverage:>9}{seconds:7.2f} s"


def _ours(index: BlockIndex, genes: Genes, latency_ms: FloatArray, unseen: Genes) -> Prediction:
    return fit_on_networks(index, GPU, genes, latency_ms).predict(unseen)


def _plain_ridge(index: BlockIndex, genes: Genes, latency_ms: FloatArray, unseen: Genes) -> FloatArray:
    return fit_baseline("plain ridge", index, genes, latency_ms).predict(unseen)


def _macs(index: BlockIndex, genes: Genes, latency_ms: FloatArray, unseen: Genes) -> FloatArray:
    return fit_baseline("macs", index, genes, latency_ms).predict(unseen)


def _depth(index: BlockIndex, genes: Genes, latency_ms: FloatArray, unseen: Genes) -> FloatArray:
    return fit_baseline("depth", index, genes, latency_ms).predict(unseen)


def _xgboost(index: BlockIndex, genes: Genes, latency_ms: FloatArray, unseen: Genes) -> FloatArray:
    """Gradient boosting on the log latency with the genes and the same physical sums that ours has."""

    def features(genes: Genes) -> FloatArray:
        counts = index.count(genes)
        return np.column_stack([genes, counts @ index.features, counts @ index.features_by_type])

    model = XGBRegressor(n_estimators=400, learning_rate=0.05, max_depth=4, subsample=0.8, colsample_bytree=0.5, n_jobs=1)
    model.fit(features(genes), np.log(latency_ms))
    return np.exp(np.asarray(model.predict(features(unseen)), dtype=np.float64))


METHODS: dict[str, Method] = {
    "natdeploy": _ours,
    "xgboost": _xgboost,
    "plain ridge": _plain_ridge,
    "macs": _macs,
    "depth": _depth,
}

if __name__ == "__main__":
    main()
