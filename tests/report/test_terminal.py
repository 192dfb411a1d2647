from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from nat_deploy.cli.app import main
from nat_deploy.report import RunReading, read_run
from nat_deploy.report.terminal import print_report
from nat_deploy.search import RefittableSource

from .conftest import PROVENANCE


def shown(run: RunReading) -> str:
    console = Console(file=StringIO(), width=200, color_system=None)
    print_report(run, console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_terminal_shows_the_answer_the_notes_and_the_finalists(reading: RunReading) -> None:
    text = shown(reading)
    assert "This network meets 1.5 ms: measured" in text
    assert "note: the device was busy" in text
    for network in reading.finalists:
        assert f"{network.accuracy_percent:.2f} %" in text


def test_what_would_steer_the_terminal_or_its_markup_is_text(
    with_provenance: Callable[[Mapping[str, str]], Path], predictors: Mapping[str, RefittableSource]
) -> None:
    run = with_provenance({**PROVENANCE, "data": "\x1b]0;owned\x07[red]ünï[/red]\u202e", "warnings": "[bold]\x1b[2J"})
    text = shown(read_run(run, latency_predictors=predictors))
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "[red]ünï[/red]" in text
    assert "note: [bold]" in text


@pytest.mark.parametrize(("view", "name"), [("html", "report.html"), ("markdown", "report.md")])
def test_the_command_writes_the_view_that_is_asked_for(
    run_copy: Path, view: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["report", str(run_copy), "--format", view])
    assert left.value.code == 0
    assert capsys.readouterr().out.strip() == str(run_copy / name)
    assert (run_copy / name).stat().st_size > 1000


def test_the_command_prints_on_the_terminal_and_writes_nothing(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(run_copy.rglob("*"))
    with pytest.raises(SystemExit) as left:
        main(["report", str(run_copy), "--format", "terminal"])
    assert left.value.code == 0
    assert "Finalists" in capsys.readouterr().out
    assert sorted(run_copy.rglob("*")) == before


@pytest.mark.parametrize("option", [["--json"], ["--out", "report.txt"]])
def test_a_file_is_not_for_the_terminal(run_copy: Path, option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["report", str(run_copy), "--format", "terminal", *option])
    assert left.value.code == 2
    assert "--format terminal writes no file" in capsys.readouterr().err
