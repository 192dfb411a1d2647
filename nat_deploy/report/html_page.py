"""One HTML file that explains a run, and needs nothing but itself."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from nat_deploy.files import write_atomically
from nat_deploy.report.architecture_drawing import draw_architecture
from nat_deploy.report.charts import Chart, front_charts, history_charts, latency_charts
from nat_deploy.report.headline import Headline, headline
from nat_deploy.report.reading import RunReading, read_run
from nat_deploy.report.tables import (
    answer_table,
    files_table,
    finalists_table,
    iterations_table,
    latency_table,
    provenance_table,
    request_table,
    settings_table,
)
from nat_deploy.search import RefittableSource

_TEMPLATE = "report.html.jinja"


def write_report(run: Path, out: Path | None = None, *, latency_predictors: Mapping[str, RefittableSource] | None = None) -> Path:
    """Write the report of a run, finished or not, by default to `report.html` in its folder; returns the file.

    Args:
        run: The run folder.
        out: The file to write.
        latency_predictors: Of the latency objectives, by name; by default fitted on the latency table of the run's target.

    Raises:
        MissingError: There is no run.
        FileFormatError: A file of the run is broken.
        InputError, WorkError: The report cannot be written.
    """
    path = out or run / "report.html"
    write_atomically(path, run_html(read_run(run, latency_predictors=latency_predictors)))
    return path


def run_html(run: RunReading) -> str:
    """The whole page."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    template = resources.files("nat_deploy.report").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    fronts, latencies, history = front_charts(run), latency_charts(run), history_charts(run)
    chosen = run.chosen
    drawing = (
        ""
        if run.space is None or chosen is None or chosen.architecture is None
        else draw_architecture(run.space, chosen.architecture)
    )
    return environment.from_string(template).render(
        run=run,
        headline=_headline(run),
        answer=answer_table(run),
        files=files_table(run),
        fronts=fronts,
        latencies=latencies,
        latency_scores=latency_table(run),
        history=history,
        iterations=iterations_table(run),
        finalists=finalists_table(run),
        drawing=Markup(drawing),  # built from integers and escaped text
        provenance=provenance_table(run),
        settings=settings_table(run),
        request=request_table(run),
        command=run.provenance.get("command"),
        notes=run.notes(),
        figures=Markup(_figures_json((*fronts, *latencies, *history))),
        plotly=Markup(get_plotlyjs()),
    )


def _headline(run: RunReading) -> Headline | None:
    return None if run.chosen is None else headline(run, run.chosen)


def _figures_json(charts: Sequence[Chart]) -> str:
    """The figures as JSON that may stand inside a script element: it holds no character that could end it."""
    figures: dict[str, Any] = {chart.key: json.loads(chart.figure.to_json()) for chart in charts if chart.figure is not None}
    text = json.dumps(figures, separators=(",", ":"), allow_nan=False)  # ASCII
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
