"""The command `natdeploy`. Heavy packages are imported by the commands that need them, so that `--help` answers at once."""

import os
import sys
from collections.abc import Sequence

import typer

from nat_deploy.cli import (
    benchmark,
    describe,
    devices,
    export,
    finetune,
    import_weights,
    profile,
    quickstart,
    report,
    search,
    table,
)
from nat_deploy.errors import NatDeployError
from profilers.errors import ProfilerError

app = typer.Typer(
    name="natdeploy",
    help="The most accurate network that really meets a latency budget on your device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(quickstart.quickstart)
app.add_typer(devices.app, name="devices")
app.command()(profile.profile)
app.add_typer(table.app, name="table")
app.command()(describe.describe)
app.command("import-weights")(import_weights.import_weights)
app.command()(search.search)
app.command()(finetune.finetune)
app.command()(export.export)
app.command()(benchmark.benchmark)
app.command()(report.report)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an error is one sentence on standard error, with `--debug` anywhere a traceback."""
    # PyTorch's threads spin while they wait for each other, and on a busy machine take the time that the others need. OpenMP itself lets them
    # spin no longer than this where threads are more than cores; but it does not know of other processes. Read when PyTorch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if debug:
        arguments.remove("--debug")
    try:
        app(arguments)
    except (NatDeployError, ProfilerError) as error:
        if debug:
            raise
        print(f"natdeploy: {error}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, NatDeployError) else 1)
    except KeyboardInterrupt:
        if debug:
            raise
        print("natdeploy: stopped; what was finished is kept", file=sys.stderr)
        sys.exit(130)
