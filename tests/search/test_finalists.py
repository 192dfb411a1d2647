"""Which networks are returned, on devices that are placed by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import BudgetError, FileFormatError
from nat_deploy.search import Budget, Evaluations, RunFolder, SearchSettings, make_problem
from nat_deploy.search.finalists import choose_finalists
from nat_deploy.search.genes import to_gene_string
from nat_deploy.search.problem import SearchProblem
from nat_deploy.search.records import FinalistRecord
from nat_deploy.search.sittings import Devices, Measure
from nat_deploy.spaces import Architecture, Genes

from .worlds import SPACE, FakeMeasurement, SyntheticDevice

UPPER_MS = 1.5
SETTINGS = SearchSettings(objectives=("error_percent", "latency_ms"), budgets=(Budget(objective="latency_ms", upper=UPPER_MS),))


def candidates(device: SyntheticDevice, count: int = 60) -> Evaluations:
    """The slower the better."""
    genes = np.unique(SPACE.sample(np.random.default_rng(0), 2 * count), axis=0)[:count]
    latency = device.true_ms(genes)
    return Evaluations(
        objectives=("error_percent", "latency_ms"),
        genes=genes,
        values=np.stack([50 - 10 * latency, latency], axis=1),
        measured=np.ones(len(genes), dtype=np.bool_),
        supernet_version=0,
    )


def choose(
    tmp_path: Path, device: SyntheticDevice, measure: Measure | None, *, count: int = 3, rounds: int = 8
) -> tuple[SearchProblem, tuple[FinalistRecord, ...]]:
    archive = candidates(SyntheticDevice())

    def evaluate(genes: Genes) -> Evaluations:
        return Evaluations(
            objectives=archive.objectives,
            genes=genes,
            values=np.full((len(genes), 2), 90.0),
            measured=np.ones(len(genes), dtype=np.bool_),
            supernet_version=0,
        )

    return choose_finalists(
        make_problem(SPACE, SETTINGS, {"latency_ms": device.predictor()}),
        archive,
        Devices(measure={} if measure is None else {"latency_ms": measure}, folder=RunFolder.create(tmp_path, SETTINGS, {})),
        evaluate,
        np.random.default_rng(0),
        count=count,
        max_rounds=rounds,
    )


def best_within(upper_ms: float) -> tuple[int, ...]:
    archive = candidates(SyntheticDevice())
    within = archive.take(archive.column("latency_ms") <= upper_ms)
    return to_gene_string(within.genes[within.column("error_percent").argmin()])


@pytest.mark.parametrize("bias", [0.8, 1.0, 1.25])
def test_the_best_network_whose_whole_interval_is_within_is_found(tmp_path: Path, bias: float) -> None:
    device = SyntheticDevice(bias=bias)
    _, finalists = choose(tmp_path, device, device.measure)
    assert len(finalists) == 3
    assert finalists[0].genes == best_within(UPPER_MS / 1.01)  # an exact interval is +-1 %
    assert device.num_measured < 30


def test_what_is_returned_was_measured_together_in_the_last_sitting(tmp_path: Path) -> None:
    device = SyntheticDevice(bias=0.8)
    problem, finalists = choose(tmp_path, device, device.measure)
    last = problem.sittings[-1]
    assert last.exact
    assert last.name.startswith("finalists-")
    assert [finalist.latencies for finalist in finalists] == [(record,) for record in sorted_by(finalists, last.measurements)]


def sorted_by(finalists: Sequence[FinalistRecord], measurements: Sequence[object]) -> list[object]:
    of = {record.genes: record for record in measurements}  # type: ignore[attr-defined]
    return [of[finalist.genes] for finalist in finalists]


def slower_in_exact_sittings(device: SyntheticDevice, factor: float) -> Measure:
    def measure(architectures: Sequence[Architecture], *, sitting: str, exact: bool) -> list[FakeMeasurement]:
        found = device.measure(architectures, sitting=sitting, exact=exact)
        scale = factor if exact else 1.0
        return [FakeMeasurement(scale * m.median_ms, scale * m.low_ms, scale * m.high_ms) for m in found]

    return measure


def test_only_the_exact_sitting_decides(tmp_path: Path) -> None:
    """Quick sittings say that a network is within; measured exactly it is not, and the next best is."""
    device = SyntheticDevice()
    problem, finalists = choose(tmp_path, device, slower_in_exact_sittings(device, 1.1))
    assert finalists[0].genes == best_within(UPPER_MS / 1.1 / 1.01)
    assert sum(sitting.exact for sitting in problem.sittings) > 1


def test_a_budget_inside_the_interval_is_not_kept(tmp_path: Path) -> None:
    def wide(architectures: Sequence[Architecture], *, sitting: str, exact: bool) -> list[FakeMeasurement]:
        found = SyntheticDevice().measure(architectures, sitting=sitting, exact=exact)
        return [FakeMeasurement(m.median_ms, 0.8 * m.median_ms, 1.2 * m.median_ms) for m in found]

    _, finalists = choose(tmp_path, SyntheticDevice(), wide)
    assert finalists[0].genes == best_within(UPPER_MS / 1.2)


def test_a_device_that_cannot_measure_is_held_to_the_upper_end_of_its_predictions(tmp_path: Path) -> None:
    device = SyntheticDevice(bias=1.1)
    problem, finalists = choose(tmp_path, device, None)
    assert problem.sittings == ()
    for finalist in finalists:
        assert finalist.latencies == ()
        (record,) = finalist.predicted
        predicted = device.predictor().predict(np.array([finalist.genes]))
        assert record.predicted_high_ms == predicted.high[0] <= UPPER_MS


def test_fewer_rounds_return_what_is_within_by_then(tmp_path: Path) -> None:
    device = SyntheticDevice(bias=0.8)
    problem, finalists = choose(tmp_path, device, device.measure, count=6, rounds=1)
    assert sum(sitting.exact for sitting in problem.sittings) == 1
    assert 1 <= len(finalists) <= 6
    for finalist in finalists:
        assert finalist.latencies[0].high_ms <= UPPER_MS


@pytest.mark.parametrize(("slowness", "is_met"), [(1.3, True), (2.0, False)])
def test_the_smallest_architecture_is_the_last_resort(tmp_path: Path, slowness: float, is_met: bool) -> None:
    """No candidate is within; whether the smallest is, the device says."""
    device = SyntheticDevice(slowness=slowness)
    smallest = float(device.true_ms(SPACE.encode(SPACE.smallest())[None])[0])
    assert (1.01 * smallest <= UPPER_MS) == is_met

    def run() -> tuple[FinalistRecord, ...]:
        return choose(tmp_path, device, all_slow_but_the_smallest(device))[1]

    if is_met:
        (finalist,) = run()
        assert finalist.genes == to_gene_string(SPACE.encode(SPACE.smallest()))
        assert finalist.error_percent == 90.0
    else:
        with pytest.raises(BudgetError, match=rf"smallest reachable value is {1.01 * smallest:.4g} ms \(measured\)"):
            run()


def all_slow_but_the_smallest(device: SyntheticDevice) -> Callable[..., list[FakeMeasurement]]:
    def measure(architectures: Sequence[Architecture], *, sitting: str, exact: bool) -> list[FakeMeasurement]:
        found = device.measure(architectures, sitting=sitting, exact=exact)
        return [
            m if architecture == SPACE.smallest() else FakeMeasurement(9.0, 9.0, 9.0)
            for m, architecture in zip(found, architectures, strict=True)
        ]

    return measure


def test_a_sitting_with_other_networks_than_the_run_chose_is_refused(tmp_path: Path) -> None:
    device = SyntheticDevice()
    problem = make_problem(SPACE, SETTINGS, {"latency_ms": device.predictor()})
    devices = Devices(measure={"latency_ms": device.measure}, folder=RunFolder.create(tmp_path, SETTINGS, {}))
    genes = SPACE.sample(np.random.default_rng(1), 4)
    first = devices.sit(problem, "latency_ms", genes[:2], name="before")
    assert devices.sit(problem, "latency_ms", genes[:2], name="before").sittings == first.sittings
    assert device.num_measured == 2
    assert devices.sit(first, "latency_ms", genes[:0], name="nothing") is first
    with pytest.raises(FileFormatError, match=r"'before'.*must hold the networks"):
        devices.sit(problem, "latency_ms", genes[2:], name="before")
