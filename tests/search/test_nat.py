from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import BudgetError, InputError
from nat_deploy.search import (
    Budget,
    RunFolder,
    SearchEvent,
    SearchResult,
    SearchSettings,
    hypervolume,
    make_problem,
    run_search,
)
from nat_deploy.search.genes import to_genes
from nat_deploy.spaces import Architecture

from .worlds import SPACE, FakeMeasurement, SyntheticDevice, SyntheticEvaluator

UPPER_MS = 1.5


def small_settings(**changes: object) -> SearchSettings:
    settings: dict[str, object] = {
        "budgets": (Budget(objective="latency_ms", upper=UPPER_MS),),
        "iterations": 3,
        "initial_size": 24,
        "archive_size": 30,
        "new_per_iteration": 8,
        "population_size": 20,  # as many as directions in survival: a second for each other number
        "generations": 10,
        "surrogates": ("additive",),
    }
    return SearchSettings(**(settings | changes))  # type: ignore[arg-type]


def search(folder: RunFolder, device: SyntheticDevice, evaluator: SyntheticEvaluator | None = None) -> SearchResult:
    return run_search(
        SPACE,
        evaluator or SyntheticEvaluator(),
        {"latency_ms": device.predictor()},
        {"latency_ms": device.measure},
        folder,
    )


@pytest.mark.parametrize("bias", [0.6, 1.0, 1.5])
def test_every_returned_network_meets_the_true_budget_whatever_the_predictor_says(tmp_path: Path, bias: float) -> None:
    device = SyntheticDevice(bias=bias)
    folder = RunFolder.create(tmp_path / "run", small_settings(), {})
    result = search(folder, device)
    assert len(result.finalists) == 4
    assert (device.true_ms(to_genes([f.genes for f in result.finalists])) <= UPPER_MS).all()
    for finalist in result.finalists:
        assert finalist.latencies[0].high_ms <= UPPER_MS
    assert result.chosen == min(result.finalists, key=lambda f: f.error_percent)
    assert device.num_measured <= 60
    last = folder.sittings.read()[-1]
    assert last.exact
    assert {f.latencies[0] for f in result.finalists} <= set(last.measurements)


def test_every_iteration_measures_some_of_its_archive_and_predicts_with_it(tmp_path: Path) -> None:
    device = SyntheticDevice(bias=0.6)
    folder = RunFolder.create(tmp_path / "run", small_settings(probes=3), {})
    search(folder, device)
    sittings = folder.sittings.read()
    assert [sitting.name for sitting in sittings] == device.sittings
    assert device.sittings[:4] == ["before", "iteration-001", "iteration-002", "iteration-003"]
    assert {name.rpartition("-")[0] for name in device.sittings[4:]} <= {"candidates", "finalists"}
    assert device.sittings[-1].startswith("finalists-")
    archives = [set(record.genes) for record in folder.read_iterations()]
    for number, sitting in enumerate(sittings[1:4], start=1):
        assert len(sitting.measurements) == 3
        assert {record.genes for record in sitting.measurements} <= archives[number]
    before = [record.predicted_ms / record.median_ms for record in sittings[0].measurements]
    later = [record.predicted_ms / record.median_ms for sitting in sittings[1:] for record in sitting.measurements]
    assert np.median(before) == pytest.approx(0.6, rel=0.06)
    assert np.median(later) == pytest.approx(1.0, rel=0.06)
    while_searching = [record for sitting in sittings[:4] for record in sitting.measurements]
    assert len({record.genes for record in while_searching}) == len(while_searching)  # nothing twice


def test_one_archive_has_values_of_one_predictor_and_all_share_a_reference(tmp_path: Path) -> None:
    device, settings = SyntheticDevice(bias=0.6), small_settings(objectives=("error_percent", "latency_ms"), adapt=False)
    folder = RunFolder.create(tmp_path / "run", settings, {})
    search(folder, device)
    records = folder.read_iterations()
    assert [record.num_sittings for record in records] == [1, 1, 2, 3]
    assert len({record.hypervolumes.reference for record in records}) == 1
    errors = {r.genes: r.errors_percent for r in folder.evaluations.read()}
    problem = make_problem(SPACE, settings, {"latency_ms": device.predictor()})
    for sitting, record in zip(folder.sittings.read(), records[1:], strict=False):
        problem = problem.after(sitting)
        values = problem.values(to_genes(record.genes), np.array([errors[string] for string in record.genes]))
        assert hypervolume(values, problem.reference) == pytest.approx(record.hypervolumes.after, rel=1e-12)


def test_without_measuring_on_the_way_the_finalists_alone_still_hold_the_budget(tmp_path: Path) -> None:
    device = SyntheticDevice(bias=0.6)
    result = search(RunFolder.create(tmp_path / "run", small_settings(probes=0), {}), device)
    assert (device.true_ms(to_genes([f.genes for f in result.finalists])) <= UPPER_MS).all()


def test_finds_better_networks_than_its_initial_archive(tmp_path: Path) -> None:
    device = SyntheticDevice()
    folder = RunFolder.create(tmp_path / "run", small_settings(adapt=False), {})
    result = search(folder, device)
    first = folder.read_iterations()[0]
    initial = to_genes(first.genes)
    errors = {r.genes: r.errors_percent for r in folder.evaluations.read()}
    feasible = [errors[string][0] for string, ms in zip(first.genes, device.true_ms(initial), strict=True) if ms <= UPPER_MS]
    assert result.chosen.error_percent < min(feasible)


def test_archive_keeps_its_size_and_has_one_version_and_no_duplicates(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", small_settings(), {})
    evaluator = SyntheticEvaluator()
    result = search(folder, SyntheticDevice(), evaluator)
    records = folder.read_iterations()
    assert [len(r.genes) for r in records] == [24, 30, 30, 30]
    assert [r.supernet_version for r in records] == [1, 2, 3, 4]
    for record in records:
        assert len(set(record.genes)) == len(record.genes)
        assert (SPACE.repair(to_genes(record.genes)) == to_genes(record.genes)).all()
    assert evaluator.num_evaluated == 24 + 3 * 30  # everything again after each adaptation, nothing twice
    assert evaluator.version == 4
    assert result.front.supernet_version == 4
    assert result.front.measured.all()


def test_hypervolumes_tell_search_from_adaptation_and_surrogates_are_scored_on_new_candidates(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", small_settings(), {})
    search(folder, SyntheticDevice())
    for record in folder.read_iterations()[1:]:
        volumes = record.hypervolumes
        assert volumes.before < volumes.after
        assert volumes.adapted <= volumes.after
        (surrogate,) = record.surrogates
        assert surrogate.on_new.count == record.num_new == 8
        assert surrogate.on_new.kendall_tau > 0.5


def test_without_adaptation_nothing_is_evaluated_twice(tmp_path: Path) -> None:
    evaluator = SyntheticEvaluator()
    search(RunFolder.create(tmp_path / "run", small_settings(adapt=False), {}), SyntheticDevice(), evaluator)
    assert evaluator.num_evaluated == 24 + 3 * 8
    assert evaluator.version == 0


def test_impossible_budget_says_the_smallest_reachable_value_before_anything_is_evaluated(tmp_path: Path) -> None:
    device, evaluator = SyntheticDevice(bias=0.9), SyntheticEvaluator()
    smallest = 1.01 * float(device.true_ms(SPACE.encode(SPACE.smallest())[None])[0])  # its interval's upper end
    folder = RunFolder.create(tmp_path / "run", small_settings(budgets=(Budget(objective="latency_ms", upper=0.2),)), {})
    with pytest.raises(BudgetError, match=rf"latency_ms <= 0.2 on 'fake-board.*{smallest:.4g} ms \(measured\)"):
        search(folder, device, evaluator)
    assert evaluator.num_evaluated == 0


def test_a_budget_that_only_the_predictor_refuses_is_tried_on_the_device(tmp_path: Path) -> None:
    device = SyntheticDevice(bias=2.0)
    folder = RunFolder.create(tmp_path / "run", small_settings(probes=0), {})
    result = search(folder, device)
    assert (device.true_ms(to_genes([f.genes for f in result.finalists])) <= UPPER_MS).all()


def test_budgets_hold_on_every_device_by_measurement_where_there_is_one(tmp_path: Path) -> None:
    names = ("latency_ms@board", "latency_ms@phone", "latency_ms@paper")
    board, phone = SyntheticDevice(bias=0.7), SyntheticDevice(bias=1.2, slowness=3.0)
    paper = SyntheticDevice(slowness=10.0).predictor()
    uppers = dict(zip(names, (1.5, 4.2, 15.0), strict=True))
    settings = small_settings(
        objectives=("error_percent", *names),
        budgets=tuple(Budget(objective=name, upper=upper) for name, upper in uppers.items()),
        iterations=1,
        population_size=12,
    )
    folder = RunFolder.create(tmp_path / "run", settings, {})
    sources = dict(zip(names, (board.predictor(), phone.predictor(), paper), strict=True))
    measure = {names[0]: board.measure, names[1]: phone.measure}
    result = run_search(SPACE, SyntheticEvaluator(), sources, measure, folder)
    genes = to_genes([f.genes for f in result.finalists])
    assert (board.true_ms(genes) <= uppers[names[0]]).all()
    assert (phone.true_ms(genes) <= uppers[names[1]]).all()
    assert (paper.predict(genes).high <= uppers[names[2]]).all()
    assert board.sittings == phone.sittings
    for row, finalist in enumerate(result.finalists):
        assert [record.objective for record in finalist.latencies] == list(names[:2])
        assert [record.objective for record in finalist.predicted] == [names[2]]
        assert finalist.predicted[0].predicted_high_ms == paper.predict(genes).high[row]


def test_budgets_on_counts_hold_together_with_latency(tmp_path: Path) -> None:
    budgets = (Budget(objective="latency_ms", upper=UPPER_MS), Budget(objective="macs", upper=3e6))
    result = search(RunFolder.create(tmp_path / "run", small_settings(budgets=budgets), {}), SyntheticDevice())
    genes = to_genes([f.genes for f in result.finalists])
    assert (SPACE.count(genes).macs <= 3e6).all()


def test_an_impossible_count_says_so(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", small_settings(budgets=(Budget(objective="macs", upper=1000.0),)), {})
    with pytest.raises(BudgetError, match=r"macs <= 1000: the smallest reachable value is .* \(counted\)"):
        search(folder, SyntheticDevice())


def test_two_objectives_and_no_device_need_no_measurement(tmp_path: Path) -> None:
    settings = small_settings(objectives=("error_percent", "macs"), budgets=(), adapt=False)
    result = run_search(SPACE, SyntheticEvaluator(), {}, {}, RunFolder.create(tmp_path / "run", settings, {}))
    assert result.chosen.latencies == ()
    assert len(result.front) > 5


def test_a_device_where_nothing_of_the_archive_fits_returns_the_smallest_or_says_so(tmp_path: Path) -> None:
    device = SyntheticDevice()

    def measure_slowly(architectures: Sequence[Architecture], *, sitting: str, exact: bool) -> list[FakeMeasurement]:
        slow = [5.0 if a != SPACE.smallest() else 1.0 for a in architectures]
        return [FakeMeasurement(ms, ms, ms) for ms in slow]

    folder = RunFolder.create(tmp_path / "run", small_settings(probes=0), {})
    predictors = {"latency_ms": device.predictor()}
    result = run_search(SPACE, SyntheticEvaluator(), predictors, {"latency_ms": measure_slowly}, folder)
    assert [SPACE.decode(np.array(f.genes)) for f in result.finalists] == [SPACE.smallest()]

    folder = RunFolder.create(tmp_path / "hopeless", small_settings(probes=0), {})
    with pytest.raises(BudgetError, match="smallest reachable value is 9 "):
        run_search(
            SPACE,
            SyntheticEvaluator(),
            predictors,
            {"latency_ms": lambda architectures, *, sitting, exact: [FakeMeasurement(9.0, 9.0, 9.0) for _ in architectures]},
            folder,
        )


def test_events_count_up(tmp_path: Path) -> None:
    events: list[SearchEvent] = []
    device = SyntheticDevice()
    folder = RunFolder.create(tmp_path / "run", small_settings(iterations=1), {})
    run_search(
        SPACE, SyntheticEvaluator(), {"latency_ms": device.predictor()}, {"latency_ms": device.measure}, folder, events.append
    )
    assert {e.step for e in events} == {
        "check budgets",
        "fit surrogate",
        "evolve",
        "adapt",
        "evaluate",
        "measure",
        "measure finalists",
    }
    assert all(0 <= e.done <= e.total for e in events)
    evaluated = [e.done for e in events if e.step == "evaluate" and e.iteration == 1]
    assert evaluated == sorted(evaluated)


def test_a_latency_objective_needs_a_predictor(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", small_settings(), {})
    with pytest.raises(InputError, match="'latency_ms' needs a latency predictor"):
        run_search(SPACE, SyntheticEvaluator(), {}, {}, folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"iterations": -1}, "iterations"),
        ({"objectives": ("macs", "num_params")}, "error_percent"),
        ({"objectives": ("error_percent",)}, "at least one other"),
        ({"objectives": ("error_percent", "speed")}, "'speed'"),
        ({"archive_size": 10}, "archive_size"),
        ({"new_per_iteration": 30}, "new_per_iteration"),
        ({"surrogates": ()}, "surrogates"),
        ({"budgets": (Budget(objective="macs", upper=1.0), Budget(objective="macs", upper=2.0))}, "one budget"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        small_settings(**change)
