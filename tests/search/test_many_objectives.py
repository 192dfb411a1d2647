"""Searches with twelve objectives, as many as NAT's paper goes to: errors on data sets, latencies of devices, counted costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import InputError
from nat_deploy.search import Budget, Evaluator, RunFolder, SearchResult, SearchSettings, Weight, make_objective, run_search
from nat_deploy.search.genes import to_genes

from .worlds import SPACE, SyntheticDataSets, SyntheticDevice, SyntheticEvaluator

COUNTED = ("macs", "num_params", "peak_activation_bytes")
SMALL = {
    "iterations": 2,
    "initial_size": 30,
    "archive_size": 50,
    "new_per_iteration": 8,
    "population_size": 20,
    "generations": 5,
    "surrogates": ("additive",),
    "finalists": 2,
    "probes": 1,
}


def search(
    run: Path, objectives: Sequence[str], evaluator: Evaluator, devices: Mapping[str, SyntheticDevice], **changes: object
) -> tuple[RunFolder, SearchResult]:
    folder = RunFolder.create(run, SearchSettings(objectives=tuple(objectives), **{**SMALL, **changes}), {})  # type: ignore[arg-type]
    predictors = {name: device.predictor() for name, device in devices.items()}
    return folder, run_search(SPACE, evaluator, predictors, {name: device.measure for name, device in devices.items()}, folder)


def test_eight_devices(tmp_path: Path) -> None:
    devices = {f"latency_ms@d{number}": SyntheticDevice(slowness=1 + number) for number in range(8)}
    objectives = ("error_percent", *devices, *COUNTED)
    assert len(objectives) == 12
    folder, result = search(tmp_path / "run", objectives, SyntheticEvaluator(), devices)
    assert len(result.finalists) == 2
    for finalist in result.finalists:
        assert [latency.objective for latency in finalist.latencies] == list(devices)
    check_hypervolumes(folder)


def check_hypervolumes(folder: RunFolder) -> None:
    iterations = folder.read_iterations()
    assert len(iterations) == 3
    assert all(len(found.hypervolumes.reference) == 12 for found in iterations)
    assert all(0 < found.hypervolumes.after < 1 for found in iterations[1:])
    assert all(found.hypervolumes.after >= found.hypervolumes.adapted for found in iterations[1:])


DATA = tuple(f"data-{number}" for number in range(8))


def test_eight_data_sets(tmp_path: Path) -> None:
    """Each error is that of its own supernet, in the version of all; each has a surrogate; the answer has the lowest mean within the budget."""
    evaluator, device = SyntheticDataSets(DATA), SyntheticDevice()
    budget = Budget(objective="latency_ms", upper=1.5)
    objectives = (*evaluator.supernets, "latency_ms", *COUNTED)
    assert len(objectives) == 12
    folder, result = search(tmp_path / "run", objectives, evaluator, {"latency_ms": device}, budgets=(budget,))
    check_hypervolumes(folder)
    assert {supernet.version for supernet in evaluator.supernets.values()} == {result.front.supernet_version} == {3}
    genes = to_genes([finalist.genes for finalist in result.finalists])
    for place, supernet in enumerate(evaluator.supernets.values()):
        assert [finalist.errors_percent[place] for finalist in result.finalists] == supernet.errors(genes).tolist()
    assert (device.true_ms(genes) <= 1.5).all()
    assert result.chosen == min(result.finalists, key=lambda finalist: np.mean(finalist.errors_percent))
    for record in folder.read_iterations()[1:]:
        assert [found.objective for found in record.surrogates] == list(evaluator.supernets)
        assert all(found.on_new.count == record.num_new for found in record.surrogates)


@pytest.mark.parametrize("liked", [0, 7])
def test_weights_of_one_error_choose_what_is_good_there(tmp_path: Path, liked: int) -> None:
    """The last data set likes small images, the first large ones."""
    evaluator = SyntheticDataSets(DATA[:1] + DATA[-1:])
    evaluator.supernets["error_percent@data-7"].taste = 7
    name = f"error_percent@data-{liked}"
    weights = (Weight(objective=name, weight=100.0), Weight(objective="macs", weight=1.0))
    _, result = search(tmp_path / "run", (*evaluator.supernets, "macs"), evaluator, {}, weights=weights)
    best = result.front.column(name).min()
    assert dict(zip(evaluator.supernets, result.chosen.errors_percent, strict=True))[name] < best + 2


def test_the_mean_is_what_most_accurate_means(tmp_path: Path) -> None:
    evaluator = SyntheticDataSets(DATA[:3])
    _, result = search(tmp_path / "run", (*evaluator.supernets, "macs"), evaluator, {})
    assert result.chosen.error_percent == pytest.approx(result.front.errors_percent.mean(axis=1).min())


@pytest.mark.parametrize(
    ("objectives", "said"),
    [
        (("macs", "error_percent@a"), "errors and then costs"),
        (("error_percent@a", "macs", "error_percent@b"), "errors and then costs"),
        (("error_percent@a", "error_percent@a", "macs"), "each once"),
        (("error_percent", "error_percent@a", "macs"), "each of several errors must name its data set"),
        (("error_percent@../a", "error_percent@b"), "objective must be one of"),
    ],
)
def test_errors_that_do_not_go_together_are_refused(objectives: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        SearchSettings(objectives=objectives)


@pytest.mark.parametrize(
    "name", ["error_percent@", "error_percent@.", "error_percent@..", "error_percent@a/b", "error_percent@a\\b"]
)
def test_a_data_set_has_the_name_of_a_folder(name: str) -> None:
    with pytest.raises(InputError, match="objective must be one of"):
        make_objective(name)


def test_each_error_needs_its_supernet(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"needs a supernet, error_percent@a, error_percent@b, but there are supernets for error_percent;"
    ):
        search(tmp_path / "run", ("error_percent@a", "error_percent@b", "macs"), SyntheticEvaluator(), {})
