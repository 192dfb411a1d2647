"""A finished search over a synthetic supernet and device, shared by the tests of the report."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nat_deploy.report import RunReading, read_run, space_provenance
from nat_deploy.search import Budget, RefittableSource, RunFolder, SearchSettings, run_search

from ..search.worlds import SPACE, SyntheticDevice, SyntheticEvaluator

UPPER_MS = 1.5
SETTINGS = SearchSettings(
    budgets=(Budget(objective="latency_ms", upper=UPPER_MS),),
    iterations=2,
    initial_size=16,
    archive_size=20,
    new_per_iteration=6,
    population_size=12,
    generations=4,
    surrogates=("additive",),
)
PROVENANCE = {
    **space_provenance(SPACE),
    "data": "synthetic",
    "command": "natdeploy search --latency-budget 1.5ms",
    "warnings": "the device was busy",
}


@pytest.fixture(scope="session")
def predictors() -> Mapping[str, RefittableSource]:
    return {"latency_ms": SyntheticDevice().predictor()}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, predictors: Mapping[str, RefittableSource]) -> Path:
    """A finished run; do not change it."""
    path = tmp_path_factory.mktemp("finished") / "run"
    run_search(
        SPACE,
        SyntheticEvaluator(),
        predictors,
        {"latency_ms": SyntheticDevice().measure},
        RunFolder.create(path, SETTINGS, PROVENANCE),
    )
    return path


@pytest.fixture
def run_copy(finished: Path, tmp_path: Path) -> Path:
    """The finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def reading(finished: Path, predictors: Mapping[str, RefittableSource]) -> RunReading:
    return read_run(finished, latency_predictors=predictors)


@pytest.fixture
def with_provenance(finished: Path, tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """The finished run, had it been made with that provenance."""

    def make(provenance: Mapping[str, str]) -> Path:
        path = tmp_path / "other"
        RunFolder.create(path, replace(SETTINGS), provenance)
        shutil.copytree(finished, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run.json"))
        return path

    return make
