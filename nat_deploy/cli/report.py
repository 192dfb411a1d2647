from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.cli._options import Json


class View(StrEnum):
    html = "html"
    markdown = "markdown"
    terminal = "terminal"


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a search.")],
    format: Annotated[View, typer.Option(help="One HTML file, a Markdown file, or tables on the terminal.")] = View.html,
    out: Annotated[
        Path | None, typer.Option(help="File to write; by default report.html or report.md in the run. Not for the terminal.")
    ] = None,
    json: Json = False,
) -> None:
    """Explain a search: front, predicted against measured, archive over time, provenance."""
    from nat_deploy.cli._output import answer
    from nat_deploy.errors import InputError
    from nat_deploy.report import read_run, write_markdown, write_report

    if format is View.terminal:
        from rich.console import Console

        from nat_deploy.report.terminal import print_report

        if out is not None or json:
            raise InputError("--format terminal writes no file, so --out and --json must not be given, but one is; leave it out")
        print_report(read_run(run), Console())
        return
    path = (write_markdown if format is View.markdown else write_report)(run, out)
    answer(str(path), {"report": str(path)}, as_json=json)
