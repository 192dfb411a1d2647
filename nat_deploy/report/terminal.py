"""The report on a terminal."""

from dataclasses import replace
from typing import TYPE_CHECKING

from nat_deploy.report.headline import headline
from nat_deploy.report.reading import RunReading
from nat_deploy.report.tables import Table, all_tables, to_rich

if TYPE_CHECKING:
    from rich.console import Console


def print_report(run: RunReading, console: "Console") -> None:
    """The answer in words, what is good to know, and every table. Characters that would steer the terminal are shown as U+FFFD."""
    found = headline(run)
    words = [] if found is None else [found.answer, found.sentence]
    words += [f"note: {note}" for note in run.notes()]
    for line in (*words, ""):
        console.print(_harmless(line), markup=False, highlight=False)
    for table in all_tables(run):
        console.print(to_rich(_harmless_table(table)))
        console.print()
    if run.command is not None:
        console.print(_harmless(run.command), markup=False, highlight=False, soft_wrap=True)


def _harmless_table(table: Table) -> Table:
    return replace(table, rows=tuple(tuple(map(_harmless, row)) for row in table.rows))


def _harmless(text: str) -> str:
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)
