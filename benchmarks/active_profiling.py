"""Is it worth choosing what to measure? Networks chosen as `natdeploy profile` does against random ones, on public labels.

    python benchmarks/active_profiling.py OFA_LATENCY.csv [--seeds 20] [--noise 0.012]

Of 5,000 measured networks, 1,000 are kept for scoring. Sittings of 12 are taken from the others: the first is both extremes and ten
random networks either way; of a later one, two thirds are chosen out of 500 candidates by the predictor so far. `--noise` adds noise to
the labels that are fitted, of a standard deviation as a share: 0.012 is that of a quick profile on a shared CPU. The table shows the mean
error on the 1,000, with its standard deviation over the seeds, and the coverage of the 95 % intervals.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency_prediction_ofa import RESOLUTIONS, read_labels
from benchmarks.machine import circumstances
from nat_deploy.predictors.latency import AdditivePredictor, BlockIndex, Scores, fit_on_networks, score
from nat_deploy.predictors.latency.prediction import FloatArray
from nat_deploy.profiling.choose import SITTING_SIZE, choose_telling
from nat_deploy.spaces import Genes, make_space
from profilers.target import Target

DEVICES = ("titan_rtx_64_ms", "v100_64_ms", "titan_rtx_1_ms")
NUM_MEASURED = (12, 24, 36, 60, 96)
NUM_UNSEEN = 1000
NUM_CANDIDATES = 500
NUM_TELLING = 8
_GPU = Target(device="gpu", runtime="pytorch", runtime_version="1", precision="fp32", threads=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--noise", type=float, default=0.0)
    arguments = parser.parse_args()
    print(circumstances("natdeploy", "numpy"))
    index = BlockIndex(make_space("ofa-mbv3-w1.0", resolutions=RESOLUTIONS))
    genes, labels = read_labels(arguments.file, index, DEVICES)
    print(f"noise {100 * arguments.noise:g} %, {arguments.seeds} seeds; mean error, its spread, coverage")
    print(f"{'':18}{'':9}" + "".join(f"{count:>25}" for count in NUM_MEASURED))
    for device, latency_ms in labels.items():
        for name, num_telling in (("random", 0), ("chosen", NUM_TELLING)):
            runs = [
                _run(index, genes, latency_ms, seed, num_telling=num_telling, noise=arguments.noise)
                for seed in range(arguments.seeds)
            ]
            print(f"{device:18}{name:9}" + "".join(_cell([run[count] for run in runs]) for count in NUM_MEASURED), flush=True)


def _run(
    index: BlockIndex, genes: Genes, latency_ms: FloatArray, seed: int, *, num_telling: int, noise: float
) -> dict[int, Scores]:
    """Scores by the number of measured networks; the same seed gives the same first sitting, however the others are chosen."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(genes))
    unseen, pool = order[:NUM_UNSEEN], order[NUM_UNSEEN:]
    measured_ms = latency_ms * np.exp(noise * rng.standard_normal(len(genes)))
    macs = index.space.count(genes[pool]).macs
    known = [int(pool[macs.argmin()]), int(pool[macs.argmax()])]
    known += _drawn(rng, pool, known, SITTING_SIZE - 2)
    scores = {}
    while True:
        predictor = fit_on_networks(index, _GPU, genes[known], measured_ms[known])
        if len(known) in NUM_MEASURED:
            scores[len(known)] = score(predictor.predict(genes[unseen]), latency_ms[unseen])
        if len(known) >= NUM_MEASURED[-1]:
            return scores
        if num_telling:
            known += _telling(rng, predictor, genes, pool, known, num_telling, noise)
        known += _drawn(rng, pool, known, SITTING_SIZE - num_telling)


def _telling(
    rng: np.random.Generator,
    predictor: AdditivePredictor,
    genes: Genes,
    pool: NDArray[np.int64],
    known: list[int],
    count: int,
    noise: float,
) -> list[int]:
    candidates, others = (np.array(_drawn(rng, pool, known, NUM_CANDIDATES)) for _ in range(2))
    chosen = choose_telling(
        predictor.doubts(genes[candidates]),
        predictor.doubts(genes[others]),
        noise=float(np.hypot(predictor.noise, noise)),
        count=count,
    )
    return [int(place) for place in candidates[chosen]]


def _drawn(rng: np.random.Generator, pool: NDArray[np.int64], known: list[int], count: int) -> list[int]:
    return [int(place) for place in rng.choice(np.setdiff1d(pool, known), count, replace=False)]


def _cell(scores: list[Scores]) -> str:
    errors = [100 * s.mape for s in scores]
    coverage = np.mean([s.coverage or 0.0 for s in scores])
    return f"{np.mean(errors):9.2f} % +-{np.std(errors):.2f}{100 * coverage:6.1f} %"


if __name__ == "__main__":
    main()
