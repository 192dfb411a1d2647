"""What a search tells while it runs."""

from pathlib import Path

import pytest

from nat_deploy.cli._output import progress_bar


def test_what_was_stopped_is_continued_by_the_command_that_began_it(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        progress.on_begin(Path("run"))
    with progress_bar(resume="natdeploy quickstart --out") as progress:
        progress.on_begin(Path("quickstart"))
    assert capsys.readouterr().err.splitlines() == [
        "run folder run; if it is stopped: natdeploy search --resume run",
        "run folder quickstart; if it is stopped: natdeploy quickstart --out quickstart",
    ]
