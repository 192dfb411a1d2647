"""The report as one HTML file that makes no request to anywhere."""

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from nat_deploy.files import write_atomically
from nat_deploy.report.architecture_drawing import draw_architecture
from nat_deploy.report.charts import history_charts, latency_charts
from nat_deploy.report.front_picture import picture_of
from nat_deploy.report.headline import headline
from nat_deploy.report.page_data import page_data
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
from nat_deploy.report.wording import accuracy, axis_of
from nat_deploy.search import RefittableSource

_SCRIPTS = ("networks.js", "front.js", "threads.js")


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

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    script = '"use strict";\n' + "".join(map(_page_file, _SCRIPTS))
    first_cost = next(iter(run.cost_names), None)
    return environment.from_string(_page_file("report.html.jinja")).render(
        run=run,
        headline=headline(run),
        answer=answer_table(run),
        files=files_table(run),
        fallback=None if first_cost is None else _image(picture_of(run, first_cost).svg()),
        first_cost=None if first_cost is None else axis_of(first_cost),
        latencies=latency_charts(run),
        latency_scores=latency_table(run),
        history=history_charts(run),
        iterations=iterations_table(run),
        finalists=finalists_table(run),
        drawings=_drawings(run),
        provenance=provenance_table(run),
        settings=settings_table(run),
        request=request_table(run),
        command=run.command,
        notes=run.notes(),
        style=_page_file("report.css"),
        data=page_data(run),
        script=script,
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def _page_file(name: str) -> str:
    return resources.files("nat_deploy.report").joinpath("page", name).read_text(encoding="utf-8")


def _image(svg: str) -> str:
    """As an address that holds the picture itself: its own styles then stay its own."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _drawings(run: RunReading) -> list[tuple[str, str]]:
    """Title and SVG of each finalist's layers; the SVG is built from integers and escaped text."""
    return [
        (
            f"{'Chosen' if rank == 1 else f'Finalist {rank}'}: {accuracy(network)}",
            draw_architecture(run.space, network.architecture),
        )
        for rank, network in enumerate(run.finalists, start=1)
        if run.space is not None and network.architecture is not None
    ]
