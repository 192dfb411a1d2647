"""A search in a process of its own, slow enough to be killed in the middle: `python -m tests.search.slow_search FOLDER`."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nat_deploy.search import ArchitectureDistribution, Budget, LatencyMeasurement, Measure, RunFolder, SearchSettings, run_search
from nat_deploy.spaces import Architecture

from .worlds import SPACE, SyntheticDevice, SyntheticEvaluator

BOARD, PHONE = "latency_ms@board", "latency_ms@phone"
SETTINGS = SearchSettings(
    objectives=("error_percent", BOARD),  # directions for more of them cost a second in each process
    budgets=(Budget(objective=PHONE, upper=4.5),),
    iterations=3,
    initial_size=16,
    archive_size=20,
    new_per_iteration=6,
    population_size=16,
    generations=6,
    surrogates=("additive", "rbf"),
    probes=3,
)


def make_devices() -> dict[str, SyntheticDevice]:
    """Two devices with predictors that are wrong in other ways."""
    return {BOARD: SyntheticDevice(bias=0.7), PHONE: SyntheticDevice(bias=1.3, slowness=3.0)}


class SlowEvaluator(SyntheticEvaluator):
    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Sequence[float]]:
        for errors in super().evaluate(architectures):
            time.sleep(0.005)
            yield errors

    def adapt(self, distribution: ArchitectureDistribution, rng: np.random.Generator) -> None:
        time.sleep(0.1)
        super().adapt(distribution, rng)

    def save(self, path: Path) -> None:
        with path.open("w") as file:
            file.write("half")
            file.flush()
            time.sleep(0.05)
        super().save(path)


def slowly(measure: Measure) -> Measure:
    def measure_slowly(architectures: Sequence[Architecture], *, sitting: str, exact: bool) -> Sequence[LatencyMeasurement]:
        time.sleep(0.1)
        return measure(architectures, sitting=sitting, exact=exact)

    return measure_slowly


def main(path: Path) -> None:
    folder = RunFolder.resume(path) if (path / "run.json").exists() else RunFolder.create(path, SETTINGS, {"space": SPACE.name})
    devices = make_devices()
    print("ready", flush=True)
    run_search(
        SPACE,
        SlowEvaluator(),
        {name: device.predictor() for name, device in devices.items()},
        {name: slowly(device.measure) for name, device in devices.items()},
        folder,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
