import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from nat_deploy.errors import InputError
from nat_deploy.report import RunReading, write_markdown, write_report
from nat_deploy.search import MeasurementRecord, RefittableSource, RunFolder

from .conftest import PROVENANCE, SETTINGS, UPPER_MS
from .page import Page, parse

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }} [red]|\"'&amp; javascript:alert(3)"
Predictors = Mapping[str, RefittableSource]


@pytest.fixture(scope="module")
def page(finished: Path, predictors: Predictors, tmp_path_factory: pytest.TempPathFactory) -> Page:
    out = tmp_path_factory.mktemp("report") / "report.html"
    assert write_report(finished, out, latency_predictors=predictors) == out
    return parse(out.read_text(encoding="utf-8"))


def test_nothing_is_fetched_from_anywhere(page: Page) -> None:
    linked = [
        entry for entry in page.attributes if entry[1] in ("src", "href", "srcset", "data", "action", "poster", "background")
    ]
    assert [(tag, name, value.partition(",")[0]) for tag, name, value in linked] == [("img", "src", "data:image/svg+xml;base64")]
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for style in page.styles:
        assert "url(" not in style
        assert "@import" not in style
    assert not re.search(r"fetch|XMLHttpRequest|import\s*\(|new Worker|sendBeacon|innerHTML", page.scripts["page"])
    assert set(re.findall(r"https?://[^\"]*", page.scripts["page"])) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in value)
    script_hash = base64.b64encode(hashlib.sha256(page.scripts["page"].encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{script_hash}'",
        "style-src 'unsafe-inline'",
        "img-src data:",
    ]


def test_the_answer_is_that_of_the_records(page: Page, finished: Path) -> None:
    result = RunFolder.read(finished).read_result()
    assert result is not None
    for finalist in result.finalists:
        record = finalist.latencies[0]
        assert f"{100 - finalist.error_percent:.2f} %" in page.text
        assert f"{record.median_ms:.3f} ms ({record.low_ms:.3f} to {record.high_ms:.3f}, measured)" in page.text
    chosen = result.finalists[0].latencies[0]
    assert f"This network meets 1.5 ms: measured {chosen.median_ms:.3f}" in page.text
    assert page.text.index("This network meets") < page.text.index("What else there is") < page.text.index("Provenance")


def test_the_script_gets_every_network_once_with_all_measures(page: Page, reading: RunReading) -> None:
    measures, networks = page.data["measures"], page.data["networks"]
    assert [measure["name"] for measure in measures] == ["Top-1 accuracy", "Latency", "MACs", "Parameters"]
    assert [measure["budget"] for measure in measures] == [None, UPPER_MS, None, None]
    assert [measure["more"] for measure in measures] == [True, False, False, False]
    known = {network.genes: network for network in (*reading.archive, *reading.front, *reading.finalists)}
    assert sorted(network["values"][0] for network in networks) == pytest.approx(
        sorted(n.accuracy_percent for n in known.values()), rel=1e-5
    )
    assert [network["role"] for network in networks].count("chosen") == 1
    assert networks[-1]["role"] == "chosen"
    assert reading.chosen is not None
    cost = reading.chosen.cost("latency_ms")
    assert cost is not None
    assert networks[-1]["intervals"]["1"] == [pytest.approx(cost.low, rel=1e-5), pytest.approx(cost.high, rel=1e-5), "measured"]
    assert networks[-1]["values"][2] == pytest.approx(_macs(reading) / 1e6, rel=1e-5)


def _macs(reading: RunReading) -> float:
    assert reading.chosen is not None
    cost = reading.chosen.cost("macs")
    assert cost is not None
    return cost.value


def test_charts_show_the_records(page: Page, finished: Path) -> None:
    folder = RunFolder.read(finished)
    records: dict[tuple[int, ...], MeasurementRecord] = {}
    for sitting in folder.sittings.read():
        for record in sitting.measurements:
            records.setdefault(record.genes, record)  # only a first prediction did not know the network
    assert len(records) < sum(len(sitting.measurements) for sitting in folder.sittings.read())
    for record in records.values():
        assert f"measured {record.median_ms:.3f} ms ({record.low_ms:.3f} to {record.high_ms:.3f}), predicted" in page.text
    for iteration in folder.read_iterations()[1:]:
        number, volumes = iteration.iteration, iteration.hypervolumes
        assert f"iteration {number}, before: {volumes.before:.4f}" in page.text
        assert f"iteration {number}, with new networks: {volumes.after:.4f}" in page.text
        (surrogate,) = iteration.surrogates
        assert f"iteration {number}: tau {surrogate.on_new.kendall_tau:.2f}" in page.text


def test_a_network_is_told_layer_by_layer(page: Page, reading: RunReading) -> None:
    assert reading.chosen is not None
    assert reading.chosen.architecture is not None
    lines = page.data["networks"][-1]["layers"]
    first = reading.chosen.architecture.stages()[0]
    assert f"resolution {reading.chosen.architecture.resolution}" in lines[0]
    assert " ".join(f"k{kernel} e{expand}" for kernel, expand in first) in " ".join(lines[1].split())


def test_the_drawings_have_one_bar_for_each_layer(page: Page, reading: RunReading) -> None:
    kernels = [kernel for network in reading.finalists if network.architecture for kernel in network.architecture.kernel]
    fills = [value for tag, name, value in page.attributes if tag == "rect" and name == "fill"]
    assert fills == [f"var(--kernel-{kernel})" for kernel in kernels]


def test_colours_are_all_defined_in_both_themes(page: Page) -> None:
    light, dark = "".join(page.styles).split("prefers-color-scheme: dark", 1)
    used = set(re.findall(r"var\(--([\w-]+)\)", page.scripts["page"] + "".join(page.styles) + repr(page.attributes)))
    for name in used:
        assert f"--{name}:" in light
        assert f"--{name}:" in dark


def test_hostile_names_are_text(with_provenance: Callable[[Mapping[str, str]], Path], predictors: Predictors) -> None:
    run = with_provenance({**PROVENANCE, "data": HOSTILE, "command": HOSTILE, "warnings": HOSTILE, HOSTILE: "key"})
    (run / "summary.json").write_text(
        json.dumps({"data_sets": [{"name": "digits", "test_top1_percent": 61.25, "test_images": 40}]})
    )
    (run / "request.json").write_text(
        json.dumps({"format": 1, "request": {"data": HOSTILE, "budgets": ["1.5ms"], "supernet": None}})
    )
    shown = parse(write_report(run, latency_predictors=predictors).read_text(encoding="utf-8"))
    assert shown.tags.count("script") == 2
    assert shown.tags.count("img") == 1  # the drawing for browsers without script
    assert not [entry for entry in shown.attributes if entry[1].startswith("on")]
    assert shown.text.count(HOSTILE) == 6  # data and command twice, the warning, the key
    assert "61.25 %" in shown.text
    markdown = write_markdown(run, latency_predictors=predictors).read_text(encoding="utf-8")
    outside = [
        line for line in markdown.splitlines() if not line.startswith("    ")
    ]  # an indented block is text, whatever it holds
    assert not [line for line in outside if "<img" in line or "<script" in line]


def test_hostile_names_of_devices_and_files_are_text(tmp_path: Path) -> None:
    from nat_deploy.search import Budget, SearchSettings

    device = "latency_ms@<img src=x onerror=alert(1)>"
    settings = SearchSettings(objectives=("error_percent", device), budgets=(Budget(objective=device, upper=2.0),))
    run = tmp_path / "a <b onclick=x> &amp; c"
    RunFolder.create(run, settings, PROVENANCE)
    (run / "<svg onload=x>.onnx").write_bytes(b"model")
    shown = parse(write_report(run).read_text(encoding="utf-8"))
    assert not {"img", "b"} & set(shown.tags)
    assert run.name in shown.text
    assert "<svg onload=x>.onnx" in shown.text


@pytest.mark.parametrize("left", ["nothing", "some evaluations", "initial archive", "no finalists"])
def test_partial_runs_are_reported_in_words(run_copy: Path, predictors: Predictors, left: str) -> None:
    (run_copy / "finalists.json").unlink()
    if left != "no finalists":
        for path in (run_copy / "iterations").glob("*.json"):
            if left != "initial archive" or not path.name.startswith("000"):
                path.unlink()
    if left in ("nothing", "some evaluations"):
        lines = (run_copy / "archive.jsonl").read_text().splitlines(keepends=True)
        (run_copy / "archive.jsonl").write_text("".join(lines[:7]))
    if left == "nothing":
        (run_copy / "archive.jsonl").unlink()
        (run_copy / "measurements.jsonl").unlink()
    shown = parse(write_report(run_copy, latency_predictors=predictors).read_text(encoding="utf-8"))
    assert "The search has not ended" in shown.text
    assert "No network is chosen yet." in shown.text
    expected = {
        "nothing": "0 of the first 16 networks are evaluated",
        "some evaluations": "7 of the first 16 networks are evaluated",
        "initial archive": "0 of 2 iterations are finished",
        "no finalists": "2 of 2 iterations are finished",
    }
    assert expected[left] in shown.text
    assert ("data" in shown.scripts) == (left != "nothing")
    write_markdown(run_copy, latency_predictors=predictors)


def test_a_run_without_space_and_budget_is_reported(tmp_path: Path, finished: Path) -> None:
    from dataclasses import replace

    run = tmp_path / "run"
    RunFolder.create(run, replace(SETTINGS, budgets=()), {})
    shutil.copytree(finished, run, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run.json"))
    shown = parse(write_report(run).read_text(encoding="utf-8"))
    assert "does not say its search space" in shown.text
    assert re.search(r"This network is right on \d+\.\d\d % of the validation images", shown.text), "no budget, no promise"


def test_a_broken_export_is_said(run_copy: Path, predictors: Predictors) -> None:
    (run_copy / "subnet.json").write_text("{}")
    (run_copy / "subnet.onnx").write_bytes(b"model")
    (run_copy / "subnet.onnx.json").write_text('{"format": 9}')
    shown = parse(write_report(run_copy, latency_predictors=predictors).read_text(encoding="utf-8"))
    assert "must have format 1" in shown.text
    assert "must describe a subnet" in shown.text


def test_a_place_that_cannot_be_written_is_refused(finished: Path) -> None:
    with pytest.raises(InputError):
        write_report(finished, finished / "no" / "folder" / "report.html")
