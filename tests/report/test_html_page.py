import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from nat_deploy.errors import InputError
from nat_deploy.report import RunReading, write_markdown, write_report
from nat_deploy.search import MeasurementRecord, RefittableSource, RunFolder

from .conftest import PROVENANCE, SETTINGS, UPPER_MS
from .page import Page, parse, trace

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }} [red]|\"'&amp; javascript:alert(3)"
Predictors = Mapping[str, RefittableSource]


@pytest.fixture(scope="module")
def page(finished: Path, predictors: Predictors, tmp_path_factory: pytest.TempPathFactory) -> Page:
    out = tmp_path_factory.mktemp("report") / "report.html"
    assert write_report(finished, out, latency_predictors=predictors) == out
    return parse(out.read_text(encoding="utf-8"))


def test_nothing_is_fetched_from_anywhere(page: Page) -> None:
    assert [
        entry for entry in page.attributes if entry[1] in ("src", "href", "srcset", "data", "action", "poster", "background")
    ] == []
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for style in page.styles:
        assert "url(" not in style
        assert "@import" not in style
    assert page.scripts["plotly"] == get_plotlyjs()  # once, whole; what it could ask for is forbidden by the page's policy
    for name in ("figures", "page"):
        assert not re.search(r"https?:|//\w+\.|fetch|XMLHttpRequest|import\s*\(|new Worker|sendBeacon", page.scripts[name])
    policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.split("; ") == [
        "default-src 'none'",
        "script-src 'unsafe-inline'",
        "style-src 'unsafe-inline'",
        "img-src data: blob:",
    ]


def test_the_answer_is_that_of_the_records(page: Page, finished: Path) -> None:
    result = RunFolder.read(finished).read_result()
    assert result is not None
    for finalist in result.finalists:
        record = finalist.latencies[0]
        assert f"{100 - finalist.error_percent:.2f} %" in page.text
        assert f"{record.median_ms:.3f} ms ({record.low_ms:.3f} to {record.high_ms:.3f}, measured)" in page.text
    assert page.text.index("The answer") < page.text.index("Accuracy and cost") < page.text.index("Provenance")
    assert "It keeps the budget: latency of at most 1.5 ms." in page.text


def test_charts_show_the_records(page: Page, finished: Path, reading: RunReading) -> None:
    folder = RunFolder.read(finished)
    front = page.figures["front:latency_ms"]
    assert trace(front, "chosen")["y"] == [reading.finalists[0].accuracy_percent]
    shown = [y for entry in front["data"] if entry["mode"] == "markers" for y in entry["y"]]
    networks = {n.genes: n.accuracy_percent for n in (*reading.archive, *reading.front, *reading.finalists)}
    assert sorted(shown) == sorted(networks.values())
    assert [shape["x0"] for shape in front["layout"]["shapes"]] == [UPPER_MS]
    latency = page.figures["latency:latency_ms"]
    records: dict[tuple[int, ...], MeasurementRecord] = {}
    for sitting in folder.sittings.read():
        for record in sitting.measurements:
            records.setdefault(record.genes, record)  # only a first prediction did not know the network
    assert len(records) < sum(len(sitting.measurements) for sitting in folder.sittings.read())
    points = [
        point
        for name in ("other networks", "finalists")
        for point in zip(trace(latency, name)["x"], trace(latency, name)["y"], strict=True)
    ]
    assert sorted(points) == sorted((r.predicted_ms, r.median_ms) for r in records.values())
    iterations = folder.read_iterations()
    hypervolume = page.figures["hypervolume"]
    assert trace(hypervolume, "before")["y"] == [i.hypervolumes.before for i in iterations[1:]]
    assert trace(hypervolume, "with new networks")["y"] == [i.hypervolumes.after for i in iterations[1:]]
    assert trace(page.figures["surrogate"], "surrogate")["y"] == [
        i.surrogate.on_new.kendall_tau for i in iterations if i.surrogate
    ]
    assert trace(page.figures["accuracy"], "best within budget")["x"] == [0, 1, 2]


def test_every_cost_can_be_chosen_and_has_its_chart(page: Page) -> None:
    choices = [value for tag, name, value in page.attributes if tag == "input" and name == "value"]
    assert choices == ["front:latency_ms", "front:macs", "front:num_params"]
    assert set(choices) <= set(page.figures)
    drawn = [value for tag, name, value in page.attributes if name == "data-figure"]
    assert set(drawn) <= set(page.figures)


def test_hover_names_the_architecture(page: Page, reading: RunReading) -> None:
    assert reading.chosen is not None
    assert reading.chosen.architecture is not None
    text = trace(page.figures["front:macs"], "chosen")["hovertext"][0]
    first = reading.chosen.architecture.stages()[0]
    assert f"resolution {reading.chosen.architecture.resolution}" in text
    assert f"stage 1: {'  '.join(f'k{kernel} e{expand}' for kernel, expand in first)}" in text


def test_the_drawing_has_one_bar_for_each_layer(page: Page, reading: RunReading) -> None:
    assert reading.chosen is not None
    assert reading.chosen.architecture is not None
    arch = reading.chosen.architecture
    fills = [value for tag, name, value in page.attributes if tag == "rect" and name == "fill"]
    assert fills == [f"var(--kernel-{kernel})" for kernel in arch.kernel]


def test_colours_are_all_defined_in_both_themes(page: Page) -> None:
    light, dark = "".join(page.styles).split("prefers-color-scheme: dark", 1)
    used = set(re.findall(r"var\(--([\w-]+)\)", page.scripts["figures"] + "".join(page.styles) + repr(page.attributes)))
    for name in used:
        assert f"--{name}:" in light
        assert f"--{name}:" in dark


def test_hostile_names_are_text(with_provenance: Callable[[Mapping[str, str]], Path], predictors: Predictors) -> None:
    run = with_provenance({**PROVENANCE, "data": HOSTILE, "command": HOSTILE, "warnings": HOSTILE, HOSTILE: "key"})
    (run / "summary.json").write_text(json.dumps({"test_top1_percent": 61.25, "test_images": 40}))
    (run / "request.json").write_text(
        json.dumps({"format": 1, "request": {"data": HOSTILE, "budgets": ["1.5ms"], "supernet": None}})
    )
    shown = parse(write_report(run, latency_predictors=predictors).read_text(encoding="utf-8"))
    assert shown.tags.count("script") == 3
    assert "img" not in shown.tags
    assert not [entry for entry in shown.attributes if entry[1].startswith("on")]
    assert shown.text.count(HOSTILE) == 6  # data and command twice, the warning, the key
    assert "61.25 %" in shown.text
    markdown = write_markdown(run, latency_predictors=predictors).read_text(encoding="utf-8")
    assert "<img" not in markdown
    assert "<script" not in markdown


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
    assert ("front:macs" in shown.figures) == (left != "nothing")
    write_markdown(run_copy, latency_predictors=predictors)


def test_a_run_without_space_and_budget_is_reported(tmp_path: Path, finished: Path) -> None:
    from dataclasses import replace

    run = tmp_path / "run"
    RunFolder.create(run, replace(SETTINGS, budgets=()), {})
    shutil.copytree(finished, run, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run.json"))
    shown = parse(write_report(run).read_text(encoding="utf-8"))
    assert "does not say its search space" in shown.text
    assert "There was no budget." in shown.text


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


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium to show the page in")
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_browser_draws_every_chart_without_complaint(
    finished: Path, predictors: Predictors, tmp_path: Path, colours: str
) -> None:
    out = write_report(finished, tmp_path / "report.html", latency_predictors=predictors)
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=10000"]
    command += [
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--blink-settings=preferredColorScheme={0 if colours == 'dark' else 1}",
    ]
    shown = subprocess.run([*command, "--dump-dom", out.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    assert "CONSOLE" not in shown.stderr  # errors, and requests that the page's policy refused
    charts = out.read_text(encoding="utf-8").count('class="chart"')
    assert charts == 5
    assert shown.stdout.count('class="main-svg"') >= charts
    assert {"light": "rgb(28, 35, 48)", "dark": "rgb(230, 234, 240)"}[colours] in shown.stdout
