from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.cli._options import Json


def quickstart(
    out: Annotated[
        Path, typer.Option(help="Folder of the run; a finished one is kept, and the next free number is used.")
    ] = Path("quickstart"),
    data: Annotated[str, typer.Option(help="Data set by name, or a folder of images.")] = "digits",
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = 0,
    json: Json = False,
) -> None:
    """Walk the whole way on this machine: profile, search, export, benchmark, report."""
    from nat_deploy.cli._output import answer, progress_bar, tell
    from nat_deploy.walk.quickstart import run_quickstart

    with progress_bar(resume="natdeploy quickstart --out") as progress:
        result = run_quickstart(out, data=data, seed=seed, listener=progress, tell=tell)
    answer(result.text, result.document, as_json=json)
