"""Time and memory of the search around the evaluations: surrogate choice and fit, NSGA-III, infill and survival, as the archive grows.

Four objectives (error, latency, MACs, parameters), 100 individuals for 100 generations, on one core. Errors come from a formula, so that nothing is trained;
latencies from a predictor of the shape that searches use.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/search_time.py
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import circumstances
from nat_deploy.predictors.accuracy import choose_surrogate
from nat_deploy.search.archive import Evaluations, not_among
from nat_deploy.search.infill import choose_infill
from nat_deploy.search.nsga3 import evolve
from nat_deploy.search.survival import survive_aimed
from nat_deploy.spaces import Genes, make_space

SPACE = make_space("ofa-mbv3-w1.0")
NAMES = ("error_percent", "latency_ms", "macs", "num_params")
Result = TypeVar("Result")
POPULATION, GENERATIONS, INFILL = 100, 100, 8


def true_error(genes: Genes) -> NDArray[np.float64]:
    """Saturating in MACs, with effects of single layers."""
    effects = np.random.default_rng(1).normal(0, 0.15, size=(genes.shape[1], 10))
    single = effects[np.arange(2, genes.shape[1]), genes[:, 2:]].sum(axis=1)
    return np.asarray(22 + 40 * (SPACE.count(genes).macs / 1e8) ** -0.6 + single)


def costs(genes: Genes) -> NDArray[np.float64]:
    counts = SPACE.count(genes)
    latency = 1.0 + counts.macs / 4e7 + counts.peak_activation_bytes / 3e6
    return np.stack([latency, counts.macs, counts.num_params], axis=1).astype(np.float64)


def evaluations(genes: Genes, values: NDArray[np.float64]) -> Evaluations:
    return Evaluations(
        objectives=NAMES, genes=genes, values=values, measured=np.ones(len(genes), dtype=np.bool_), supernet_version=0
    )


def iterate(archive: Evaluations, rng: np.random.Generator) -> tuple[dict[str, float], int]:
    """Seconds of each step of one iteration, and how many candidates it found."""
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Result]) -> Result:
        start = time.process_time()
        result = work()
        seconds[name] = time.process_time() - start
        return result

    surrogate = timed("surrogates", lambda: choose_surrogate(SPACE, archive.genes, archive.column("error_percent"), rng))

    def objectives(genes: Genes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.concatenate([surrogate.predict(genes).mean[:, None], costs(genes)], axis=1), np.zeros(len(genes))

    found = timed(
        "evolution",
        lambda: evolve(SPACE, objectives, archive.genes, rng, population_size=POPULATION, generations=GENERATIONS),
    )
    errors, none = surrogate.predict(found), np.zeros(len(found))
    candidates = evaluations(found, np.concatenate([errors.mean[:, None], costs(found)], axis=1))
    spread = np.stack([errors.std, none, none, none], axis=1)
    reference = np.concatenate([[100.0], costs(SPACE.encode(SPACE.largest())[None])[0]])
    chosen = timed("infill", lambda: choose_infill(candidates, spread, none, none, archive, reference, INFILL, rng))
    zeros = np.zeros(len(archive))
    timed(
        "survival", lambda: survive_aimed(archive.values, zeros, zeros, max(1, len(archive) - len(chosen)), rng, aimed_share=0.0)
    )
    return seconds, len(chosen)


def random_archive(size: int, rng: np.random.Generator) -> Evaluations:
    drawn = SPACE.sample(rng, 2 * size)
    genes = drawn[not_among(drawn, drawn[:0])][:size]
    return evaluations(genes, np.concatenate([true_error(genes)[:, None], costs(genes)], axis=1))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000, 2000], help="members of the archive")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    print(circumstances("natdeploy", "numpy", "scikit-learn"))
    iterate(random_archive(30, np.random.default_rng(0)), np.random.default_rng(0))  # imports are no part of an iteration
    print(f"libraries alone: {_peak_mib():.0f} MiB")
    for size in options.sizes:
        rows, totals = [], []
        for seed in range(options.repetitions):
            rng = np.random.default_rng(seed)
            seconds, num_chosen = iterate(random_archive(size, rng), rng)
            assert num_chosen == INFILL
            rows.append(seconds)
            totals.append(sum(seconds.values()))
        parts = ", ".join(f"{name} {np.median([row[name] for row in rows]):.2f}" for name in rows[0])
        print(
            f"archive {size:5}: {np.median(totals):5.2f} s CPU ({min(totals):.2f}-{max(totals):.2f}): {parts}; peak {_peak_mib():.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
