import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import FileFormatError, MissingError
from nat_deploy.predictors.latency import predictor_from_table, save_table, table_path
from nat_deploy.report import RunReading, provenance_table, read_run, read_space, space_provenance
from nat_deploy.search import RefittableSource, RunFolder, make_problem, measured_sitting
from nat_deploy.spaces import make_space
from nat_deploy.spaces.subnet_file import SubnetFile, save_subnet

from ..predictors.synthetic_device import make_table
from ..search.worlds import SPACE, SyntheticDevice
from .conftest import PROVENANCE, SETTINGS, UPPER_MS

Predictors = Mapping[str, RefittableSource]


def test_networks_have_what_the_records_and_the_space_say(finished: Path, reading: RunReading, predictors: Predictors) -> None:
    folder = RunFolder.read(finished)
    result = folder.read_result()
    assert result is not None
    assert [n.genes for n in reading.finalists] == [f.genes for f in result.finalists]
    assert reading.chosen is not None
    assert reading.chosen.error_percent == result.finalists[0].error_percent
    measured = reading.chosen.cost("latency_ms")
    record = result.finalists[0].latencies[0]
    assert measured is not None
    assert (measured.value, measured.low, measured.high, measured.source) == (
        record.median_ms,
        record.low_ms,
        record.high_ms,
        "measured",
    )
    assert reading.chosen.architecture == SPACE.decode(reading.chosen.genes)  # type: ignore[arg-type]
    last = folder.read_iterations()[-1]
    assert [n.genes for n in reading.archive] == list(last.genes)
    errors = {(r.genes, r.supernet_version): r.errors_percent for r in folder.evaluations.read()}
    for network in reading.archive:
        assert network.errors_percent == errors[network.genes, last.supernet_version]
        macs = network.cost("macs")
        assert macs is not None
        assert macs.value == SPACE.count([network.genes]).macs[0]  # type: ignore[arg-type]


def test_best_of_an_iteration_keeps_the_budget_and_nothing_that_keeps_it_is_better(reading: RunReading) -> None:
    for iteration in reading.iterations:
        within = [n.error_percent for n in iteration.archive if (cost := n.cost("latency_ms")) and cost.high <= UPPER_MS]
        assert iteration.best is not None
        assert iteration.best.error_percent == min(within)


def test_front_before_the_end_is_not_dominated_by_any_network_within_the_budget(run_copy: Path, predictors: Predictors) -> None:
    (run_copy / "finalists.json").unlink()
    run = read_run(run_copy, latency_predictors=predictors)
    problem = make_problem(SPACE, SETTINGS, predictors)
    assert run.front
    names = problem.names[1:]

    def values(network):  # type: ignore[no-untyped-def]
        return [network.error_percent, *(network.cost(name).value for name in names)]

    within = [n for n in run.archive if n.meets(SETTINGS.budgets)]
    for member in run.front:
        for other in within:
            better = [o <= m for o, m in zip(values(other), values(member), strict=True)]
            assert not all(better) or values(other) == values(member)


def test_without_a_table_only_measured_networks_have_a_latency_and_that_is_said(finished: Path) -> None:
    run = read_run(finished)
    measured = {record.genes for sitting in RunFolder.read(finished).sittings.read() for record in sitting.measurements}
    assert {n.genes for n in run.archive if n.cost("latency_ms")} == measured & {n.genes for n in run.archive}
    assert any("There is no latency table" in note for note in run.notes())
    assert run.chosen is not None


def test_the_table_of_the_run_gives_latencies_and_device(run_copy: Path) -> None:
    (run_copy / "measurements.jsonl").unlink()
    table = make_table(SPACE, np.random.default_rng(0))
    document = json.loads((run_copy / "run.json").read_text())
    document["provenance"]["target"] = table.target.key
    (run_copy / "run.json").write_text(json.dumps(document))
    path = table_path(run_copy / "latency_tables", table.target, SPACE.name)
    path.parent.mkdir(parents=True)
    save_table(table, path)
    run = read_run(run_copy)
    predicted = predictor_from_table(SPACE, table, statistic="median").predict(
        np.array([network.genes for network in run.archive])
    )
    shown = [cost.value for network in run.archive if (cost := network.cost("latency_ms")) is not None]
    assert shown == pytest.approx(list(predicted.value))
    assert any("slow_runs" in note for note in run.notes())
    assert ("Runtime", "fake 1, fp32, 1 thread, batch 1") in provenance_table(run).rows


def test_predictions_shown_know_what_the_run_measured(run_copy: Path, predictors: Predictors) -> None:
    journal = RunFolder.read(run_copy).sittings
    sittings = journal.read()
    journal.path.unlink()
    far = []
    for sitting in sittings:
        records = (
            replace(record, **{name: 2.0 * getattr(record, name) for name in ("median_ms", "low_ms", "high_ms")})
            for record in sitting.measurements
        )
        far.append(replace(sitting, measurements=tuple(records)))
        journal.append(far[-1])
    run = read_run(run_copy, latency_predictors=predictors)
    refitted = predictors["latency_ms"].refit([measured_sitting(sitting) for sitting in far])
    measured = {record.genes for sitting in far for record in sitting.measurements}
    network = next(network for network in run.archive if network.genes not in measured)
    cost, plain = network.cost("latency_ms"), predictors["latency_ms"].predict(np.array([network.genes]))
    assert cost is not None
    assert cost.source == "predicted"
    assert cost.value == pytest.approx(refitted.predict(np.array([network.genes])).value[0])
    assert cost.value / plain.value[0] == pytest.approx(2, rel=0.05)
    assert any(re.search(r"In this run latency_ms was (2\.[01]|1\.9)\d times", note) for note in run.notes())


def test_a_network_that_was_measured_again_counts_with_its_newest_measurement(finished: Path, predictors: Predictors) -> None:
    run = read_run(finished, latency_predictors=predictors)
    newest = {r.genes: r for sitting in RunFolder.read(finished).sittings.read() for r in sitting.measurements}
    for network in run.finalists:
        cost = network.cost("latency_ms")
        assert cost is not None
        assert (cost.value, cost.high) == (newest[network.genes].median_ms, newest[network.genes].high_ms)


def test_a_live_run_is_read_without_being_touched(run_copy: Path, predictors: Predictors) -> None:
    """Half-written last lines stay, folders are not made: the search that writes them goes on."""
    (run_copy / "finalists.json").unlink()
    for name in ("archive.jsonl", "measurements.jsonl"):
        with (run_copy / name).open("ab") as file:
            file.write(b'{"genes": [1, 2')
    shutil.rmtree(run_copy / "checkpoints")
    before = {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    run_copy.chmod(0o555)
    try:
        run = read_run(run_copy, latency_predictors=predictors)
    finally:
        run_copy.chmod(0o755)
    assert len(run.iterations) == 3
    assert {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()} == before
    assert not (run_copy / "checkpoints").exists()


def test_a_broken_table_of_the_run_is_said_and_does_not_stop_the_report(run_copy: Path) -> None:
    table = run_copy / "latency_tables" / "fake-board.fake-1.0.fp32.t1.b1" / f"{SPACE.name}.json"
    table.parent.mkdir(parents=True)
    table.write_text("{")
    assert any("cannot be used" in note and table.name in note for note in read_run(run_copy).notes())


def test_a_target_that_leaves_the_folder_of_tables_is_refused(run_copy: Path, tmp_path: Path) -> None:
    for name in ("finalists.json", "measurements.jsonl"):
        (run_copy / name).unlink()
    document = json.loads((run_copy / "run.json").read_text())
    document["provenance"]["target"] = "../../elsewhere"
    (run_copy / "run.json").write_text(json.dumps(document))
    assert any("'../../elsewhere'" in note for note in read_run(run_copy).notes())


def test_another_table_than_the_search_had_is_noticed(finished: Path, predictors: Predictors) -> None:
    run = read_run(finished, latency_predictors={"latency_ms": SyntheticDevice(bias=1.02).predictor()})
    assert any("has changed since the search" in note for note in run.notes())
    assert not any("has changed" in note for note in read_run(finished, latency_predictors=predictors).notes())


def test_space_survives_the_provenance() -> None:
    for space in (SPACE, make_space("ofa-mbv3-w1.2", num_classes=7)):
        assert read_space(space_provenance(space)) == space
    assert read_space({"data": "flowers"}) is None


def test_number_of_classes_may_come_from_the_subnet(
    with_provenance: Callable[[Mapping[str, str]], Path], reading: RunReading
) -> None:
    path = with_provenance({"space": SPACE.name, "resolutions": "32, 40, 48, 56, 64"})
    assert read_run(path).space is None
    assert reading.chosen is not None
    assert reading.chosen.architecture is not None
    shutil.rmtree(path / "checkpoints")
    save_subnet(path / "subnet.json", SubnetFile(architecture=reading.chosen.architecture, num_classes=10))
    assert read_run(path).space == SPACE


@pytest.mark.parametrize(
    "changed", [{"space": "resnet"}, {"resolutions": "32,x"}, {"num_classes": "1"}, {"resolutions": "64,32"}, {"num_classes": ""}]
)
def test_a_space_that_does_not_exist_is_refused(changed: Mapping[str, str]) -> None:
    with pytest.raises(FileFormatError, match="search space"):
        read_space({**PROVENANCE, **changed})


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(MissingError, match=r"must be the folder of a search.*give such a folder"):
            read_run(path)
    (tmp_path / "run.json").write_text('{"some": "thing"}')
    with pytest.raises(FileFormatError):
        read_run(tmp_path)


@pytest.mark.parametrize("genes", [[1, 2, 3], [0] * 22, [99] * 22])
def test_genes_outside_the_space_are_refused(run_copy: Path, genes: list[int]) -> None:
    path = run_copy / "finalists.json"
    document = json.loads(path.read_text())
    document["finalists"][0]["genes"] = genes
    path.write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match=r"must lie in its search space"):
        read_run(run_copy)


def test_an_archive_that_lost_its_evaluations_is_refused(run_copy: Path) -> None:
    (run_copy / "archive.jsonl").unlink()
    with pytest.raises(FileFormatError, match=r"archive\.jsonl"):
        read_run(run_copy)
