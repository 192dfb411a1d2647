"""A new device from a handful of measurements and other devices' labels: leave one device out of the public labels.

    python benchmarks/few_shot.py OFA_LATENCY.csv [--draws 10]

Sources are fitted on 900 networks each. The new device gives 5, 10, 20 or 50 random networks; scores are on 1,000 unseen ones, means over
the draws with the standard deviation of Spearman's rho. Beside ours with and without sources: a ridge of the new device's log latency
on the sources' log predictions, and a line through the MACs. Labels of batch 1 are mostly noise (two devices agree by .6 to .8 only).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge

from benchmarks.latency_prediction_ofa import RESOLUTIONS, read_labels
from benchmarks.machine import circumstances
from nat_deploy.predictors.latency import (
    AdditivePredictor,
    BlockIndex,
    Observations,
    Prediction,
    fit_baseline,
    fit_on_networks,
    fit_predictor,
    score,
)
from nat_deploy.predictors.latency.observations import network_observations
from nat_deploy.predictors.latency.prediction import FloatArray
from nat_deploy.spaces import Genes, make_space
from profilers.target import Target

DEVICES = ("titan_rtx_64_ms", "v100_64_ms", "titan_rtx_1_ms", "v100_1_ms")
NUM_MEASURED = (5, 10, 20, 50)
NUM_SOURCE = 900
NUM_UNSEEN = 1000
_TARGET = Target(device="gpu", runtime="pytorch", runtime_version="1", precision="fp32", threads=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--draws", type=int, default=10)
    arguments = parser.parse_args()
    print(circumstances("natdeploy", "numpy"))
    index = BlockIndex(make_space("ofa-mbv3-w1.0", resolutions=RESOLUTIONS))
    genes, labels = read_labels(arguments.file, index, DEVICES)
    of_sources = np.random.default_rng(99).permutation(len(genes))[:NUM_SOURCE]
    fitted = {name: fit_on_networks(index, _TARGET, genes[of_sources], ms[of_sources]) for name, ms in labels.items()}
    print(f"{'':16}{'':5}{'':22}{'rho':>7}{'sd':>7}{'tau':>7}{'MAPE':>8}{'+-10 %':>8}{'in 95 %':>9}")
    for device, latency_ms in labels.items():
        sources = [source for name, source in fitted.items() if name != device]
        for count in NUM_MEASURED:
            _show(device, count, index, genes, latency_ms, sources, arguments.draws)


def _show(
    device: str,
    count: int,
    index: BlockIndex,
    genes: Genes,
    latency_ms: FloatArray,
    sources: Sequence[AdditivePredictor],
    draws: int,
) -> None:
    scores: dict[str, list[FloatArray]] = {}
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(genes))
        known, unseen = order[:count], order[count : count + NUM_UNSEEN]
        observed: Observations = network_observations(index, genes[known], latency_ms[known])
        predicted: dict[str, Prediction | FloatArray] = {
            "natdeploy, sources": fit_predictor(index, _TARGET, observed, sources=sources).predict(genes[unseen]),
            "natdeploy alone": fit_predictor(index, _TARGET, observed).predict(genes[unseen]),
            "ridge on sources": _ridge_on_sources(sources, genes[known], latency_ms[known], genes[unseen]),
            "macs": fit_baseline("macs", index, genes[known], latency_ms[known]).predict(genes[unseen]),
        }
        for name, values in predicted.items():
            s = score(values, latency_ms[unseen])
            coverage = np.nan if s.coverage is None else s.coverage
            scores.setdefault(name, []).append(np.array([s.spearman, s.kendall_tau, s.mape, s.within_10, coverage]))
    for name, rows in scores.items():
        rho, tau, mape, within_10, coverage = np.mean(rows, axis=0)
        held = "-" if np.isnan(coverage) else f"{100 * coverage:.1f} %"
        print(
            f"{device:16}{count:5}  {name:20}{rho:7.3f}{np.std(rows, axis=0)[0]:7.3f}{tau:7.3f}{100 * mape:6.1f} %"
            f"{100 * within_10:6.1f} %{held:>9}",
            flush=True,
        )


def _ridge_on_sources(sources: Sequence[AdditivePredictor], genes: Genes, latency_ms: FloatArray, unseen: Genes) -> FloatArray:
    def features(genes: Genes) -> FloatArray:
        return np.log(np.column_stack([source.predict(genes).value for source in sources]))

    model = Ridge(alpha=0.01).fit(features(genes), np.log(latency_ms))
    return np.exp(np.asarray(model.predict(features(unseen)), dtype=np.float64))


if __name__ == "__main__":
    main()
