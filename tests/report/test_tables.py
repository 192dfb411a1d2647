import io
from pathlib import Path

import pytest
from rich.console import Console

from nat_deploy.report import RunReading, Table, all_tables, finalists_table, iterations_table, to_rich
from nat_deploy.report.network import Cost, Network
from nat_deploy.report.wording import bound, cost_text, figure, milliseconds, size
from nat_deploy.search import Budget, RunFolder


def network(latency: tuple[float, float] | None) -> Network:
    costs = (
        ()
        if latency is None
        else (Cost(name="latency_ms", value=latency[0], low=latency[0], high=latency[1], source="measured"),)
    )
    return Network(genes=(0,), architecture=None, errors_percent=(12.5,), supernet_version=1, costs=costs)


def test_a_budget_is_kept_by_the_upper_end_of_the_interval() -> None:
    budget = Budget(objective="latency_ms", upper=2.0)
    assert network((1.9, 2.0)).meets([budget]) is True
    assert network((1.9, 2.1)).meets([budget]) is False
    assert network(None).meets([budget]) is None
    assert network(None).meets([]) is True
    assert network((1.9, 2.1)).meets([budget, Budget(objective="macs", upper=1.0)]) is False


def test_figures_are_read_as_people_write_them() -> None:
    assert figure("macs", 216_600_000) == "216.6 M"
    assert figure("num_params", 5_482_000) == "5.48 M"
    assert figure("macs", 950) == "950"
    assert figure("latency_ms@jetson", 18.4) == "18.40 ms"
    assert figure("peak_activation_bytes", 1.5 * 2**20) == "1.50 MiB"
    assert [milliseconds(value) for value in (0.1234, 9.5, 12.345, 123.45)] == ["0.123", "9.500", "12.35", "123.5"]
    assert size(10) == "10 bytes"
    assert bound(Budget(objective="latency_ms", upper=20.0)) == "20 ms"
    assert bound(Budget(objective="macs", upper=300e6)) == "300.0 M"
    assert cost_text(None) == "not known"


def test_the_terminal_takes_nothing_for_markup() -> None:
    table = Table(title="T", header=("name",), rows=(("[red]not a colour[/red]",),))
    out = io.StringIO()
    Console(file=out, width=80).print(to_rich(table))
    assert "[red]not a colour[/red]" in out.getvalue()


def test_all_tables_print(reading: RunReading) -> None:
    out = io.StringIO()
    for table in all_tables(reading):
        Console(file=out, width=200).print(to_rich(table))
    assert "within the budget of 1.5 ms" in out.getvalue()


def test_rows_that_do_not_fit_the_header_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="2 cells"):
        Table(title="T", header=("a", "b"), rows=(("one",),))


def test_iterations_and_finalists_have_a_row_each(reading: RunReading, finished: Path) -> None:
    records = RunFolder.read(finished).read_iterations()
    rows = iterations_table(reading).rows
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert [row[6] for row in rows] == [f"{record.hypervolumes.after:.4f}" for record in records]
    finalists = finalists_table(reading)
    assert len(finalists.rows) == len(reading.finalists)
    assert {row[finalists.header.index("Within budget")] for row in finalists.rows} == {"yes"}
