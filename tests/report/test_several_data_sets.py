"""A run with an error for each of two data sets, as every form of the report shows it."""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from rich.console import Console

from nat_deploy.report import RunReading, finalists_table, iterations_table, picture_of, read_run
from nat_deploy.report.charts import history_charts
from nat_deploy.report.headline import headline
from nat_deploy.report.html_page import run_html
from nat_deploy.report.markdown import run_markdown
from nat_deploy.report.page_data import page_data
from nat_deploy.report.terminal import print_report
from nat_deploy.search import RefittableSource, RunFolder, run_search

from ..search.worlds import SPACE, SyntheticDataSets, SyntheticDevice
from .conftest import PROVENANCE, SETTINGS

NAMES = ("Mean top-1 accuracy", "Top-1 accuracy on ants", "Top-1 accuracy on <bees>")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, predictors: Mapping[str, RefittableSource]) -> RunReading:
    """A finished one, with test accuracies."""
    evaluator = SyntheticDataSets(("ants", "<bees>"))
    settings = replace(SETTINGS, objectives=(*evaluator.supernets, "latency_ms", "macs"), iterations=1)
    path = tmp_path_factory.mktemp("several") / "run"
    run_search(
        SPACE,
        evaluator,
        predictors,
        {"latency_ms": SyntheticDevice().measure},
        RunFolder.create(path, settings, PROVENANCE),
    )
    tests = [
        {"name": name, "test_top1_percent": 60.0 + place, "test_images": 40} for place, name in enumerate(("ants", "<bees>"))
    ]
    (path / "summary.json").write_text(json.dumps({"data_sets": tests}))
    return read_run(path, latency_predictors=predictors)


def test_networks_have_the_mean_and_each(run: RunReading) -> None:
    assert run.accuracy_names == NAMES
    for network in (*run.archive, *run.front, *run.finalists):
        mean, *each = network.accuracies_percent
        assert mean == network.accuracy_percent == pytest.approx(sum(each) / 2)
        assert each == [100 - error for error in network.errors_percent]
    assert run.chosen is not None
    assert run.chosen.accuracy_percent == max(network.accuracy_percent for network in run.finalists)
    (later,) = run.iterations[1:]
    assert later.best is not None
    assert later.best.accuracy_percent == max(n.accuracy_percent for n in later.archive if n.meets(run.settings.budgets))


def test_tables_have_a_column_for_each(run: RunReading) -> None:
    finalists = finalists_table(run)
    assert finalists.header[1:4] == NAMES
    assert finalists.rows[0][1:4] == tuple(f"{value:.2f} %" for value in run.finalists[0].accuracies_percent)
    methods, taus, _ = iterations_table(run).rows[1][-3:]
    surrogates = run.iterations[1].record.surrogates
    assert methods == "additive, additive"
    assert taus == ", ".join(f"{surrogate.on_new.kendall_tau:.2f}" for surrogate in surrogates)


def test_the_page_measures_each_and_keeps_intervals_with_their_costs(run: RunReading) -> None:
    document = json.loads(page_data(run))
    names = [measure["name"] for measure in document["measures"]]
    assert names[:4] == [*NAMES, "Latency"]
    assert [measure["more"] for measure in document["measures"][:4]] == [True, True, True, False]
    chosen = document["networks"][-1]
    assert run.chosen is not None
    assert chosen["values"][:3] == pytest.approx(run.chosen.accuracies_percent, rel=1e-5)
    low, high, source = chosen["intervals"]["3"]
    assert low <= chosen["values"][3] <= high
    assert source == "measured"


def test_the_answer_names_both_in_every_form(run: RunReading) -> None:
    found = headline(run)
    assert found is not None
    assert re.search(r"right on [\d.]+ % of the validation images \(ants [\d.]+ %, <bees> [\d.]+ %\)\.$", found.sentence)
    labels = [shown.label for shown in found.figures]
    assert labels[:5] == [*NAMES, "On test images of ants", "On test images of <bees>"]
    told = io.StringIO()
    print_report(run, Console(file=told, width=200))
    assert "Top-1 accuracy on test images of ants" in told.getvalue()
    assert "| Top-1 accuracy on &lt;bees&gt; |" in run_markdown(run)
    page = run_html(run)
    assert "Top-1 accuracy on &lt;bees&gt;" in page
    assert "<bees>" not in page


def test_each_surrogate_has_its_line(run: RunReading) -> None:
    drawing = history_charts(run)[2].drawing
    assert drawing is not None
    assert [series.name for series in drawing.series] == ["surrogate of ants", "surrogate of <bees>", "more MACs, less error"]
    assert "Mean top-1 accuracy (%)" in picture_of(run).svg()
