"""A search in a process of its own, slow enough to be killed in the middle: `python -m tests.search.slow_search FOLDER`."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nat_deploy.search import ArchitectureDistribution, Budget, RunFolder, SearchSettings, run_search
from nat_deploy.spaces import Architecture

from .worlds import SPACE, FakeMeasurement, SyntheticDevice, SyntheticEvaluator

SETTINGS = SearchSettings(
    objectives=("error_percent", "latency_ms"),  # directions for more of them cost a second in each process
    budgets=(Budget(objective="latency_ms", upper=1.5),),
    iterations=3,
    initial_size=16,
    archive_size=20,
    new_per_iteration=6,
    population_size=16,
    generations=6,
    evaluation_batch=4,
    surrogates=("additive", "rbf"),
)


class SlowEvaluator(SyntheticEvaluator):
    def evaluate(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        time.sleep(0.02)
        return super().evaluate(architectures)

    def adapt(self, distribution: ArchitectureDistribution, rng: np.random.Generator) -> None:
        time.sleep(0.1)
        super().adapt(distribution, rng)

    def save(self, path: Path) -> None:
        with path.open("w") as file:
            file.write("half")
            file.flush()
            time.sleep(0.05)
        super().save(path)


def slow_measure(architectures: Sequence[Architecture], *, sitting: str, exact: bool) -> list[FakeMeasurement]:
    time.sleep(0.1)
    return SyntheticDevice(bias=0.7).measure(architectures, sitting=sitting, exact=exact)


def main(path: Path) -> None:
    folder = RunFolder.resume(path) if (path / "run.json").exists() else RunFolder.create(path, SETTINGS, {"space": SPACE.name})
    device = SyntheticDevice(bias=0.7)
    print("ready", flush=True)
    run_search(SPACE, SlowEvaluator(), {"latency_ms": device.predictor()}, {"latency_ms": slow_measure}, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
