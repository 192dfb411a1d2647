"""The report as Markdown: for pull requests, issues and notes."""

import html
from collections.abc import Mapping
from pathlib import Path

from nat_deploy.files import write_atomically
from nat_deploy.report.headline import headline
from nat_deploy.report.reading import RunReading, read_run
from nat_deploy.report.tables import Table, all_tables
from nat_deploy.search import RefittableSource


def write_markdown(
    run: Path, out: Path | None = None, *, latency_predictors: Mapping[str, RefittableSource] | None = None
) -> Path:
    """Write the tables of a run as Markdown, by default to `report.md` in its folder; returns the file.

    Raises:
        MissingError: There is no run.
        FileFormatError: A file of the run is broken.
        InputError, WorkError: The file cannot be written.
    """
    path = out or run / "report.md"
    write_atomically(path, run_markdown(read_run(run, latency_predictors=latency_predictors)))
    return path


def run_markdown(run: RunReading) -> str:
    notes = "".join(f"- {_plain(note)}\n" for note in run.notes())
    parts = [f"# Search {_plain(run.path.name)}\n", _answer(run), notes, *map(_section, all_tables(run)), _reproduction(run)]
    return "\n".join(part for part in parts if part)


def _answer(run: RunReading) -> str:
    found = headline(run)
    return "" if found is None else f"**{_plain(found.answer)}** {_plain(found.sentence)}\n"


def _reproduction(run: RunReading) -> str:
    """The command as an indented block, in which nothing is taken for Markdown or HTML."""
    return "" if run.command is None else f"## How to reproduce\n\n    {' '.join(run.command.splitlines())}\n"


def _section(table: Table) -> str:
    if not table.rows:
        return f"## {table.title}\n\n{table.empty}\n"
    lines = [table.header, ("---",) * len(table.header), *(tuple(map(_plain, row)) for row in table.rows)]
    return f"## {table.title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plain(text: str) -> str:
    """Text that Markdown, and HTML in Markdown, take for nothing else."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*_[]|#!" else letter for letter in " ".join(text.split()))
    return html.escape(escaped, quote=False)
