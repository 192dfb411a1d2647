from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.cli._options import Json


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a search.")],
    out: Annotated[Path | None, typer.Option(help="HTML file to write; by default report.html in the run.")] = None,
    json: Json = False,
) -> None:
    """Write one HTML file about a search: front, predicted against measured, archive over time, provenance."""
    from nat_deploy.cli._output import answer
    from nat_deploy.report import write_report

    path = write_report(run, out)
    answer(str(path), {"report": str(path)}, as_json=json)
