from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.cli._options import (
    AllowPowerMode,
    BatchSize,
    DeviceName,
    Json,
    PrecisionName,
    Threads,
    parse_resolutions,
    parse_until,
)

_MINUTES = 2.0
_MOST_MINUTES = 30.0  # an error that noise does not allow must not keep a device busy for ever


def profile(
    device: DeviceName = "cpu",
    space: Annotated[str, typer.Option(help="Search space.")] = "ofa-mbv3-w0.5",
    minutes: Annotated[
        float | None, typer.Option(help=f"Time to measure; by default {_MINUTES:g}, and with --until {_MOST_MINUTES:g}.")
    ] = None,
    networks: Annotated[int | None, typer.Option(help="Stop when the table holds so many whole networks.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Stop when networks left out are predicted so well, for example mape=2%.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Measure each network more roughly, and so more of them.")] = False,
    precise: Annotated[bool, typer.Option("--precise", help="Measure each network to 1 %, and so fewer of them.")] = False,
    threads: Threads = None,
    batch_size: BatchSize = None,
    precision: PrecisionName = None,
    resolutions: Annotated[str | None, typer.Option(help="Image sizes, for example 32-64 or 128-256:4.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of tables; by default the user's, where search finds it.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of what is measured.")] = 0,
    allow_power_mode: AllowPowerMode = False,
    json: Json = False,
) -> None:
    """Measure blocks and networks of a space on a device; write or extend its latency table. The first limit that is reached ends it."""
    from nat_deploy.cli._answers import describe_end
    from nat_deploy.cli._output import answer, progress_bar, tell
    from nat_deploy.errors import InputError
    from nat_deploy.profiling import find_device, profile_settings
    from nat_deploy.walk import profile_device

    if fast and precise:
        raise InputError("profiling is either --fast or --precise, but both came; leave one out")
    until_mape = parse_until(until)
    found = find_device(device, allow_power_mode=allow_power_mode)
    if minutes is None and networks is None:
        minutes = _MINUTES if until_mape is None else _MOST_MINUTES
    with progress_bar() as progress:
        profiled = profile_device(
            found.with_settings(threads=threads, batch_size=batch_size, precision=precision),
            space,
            minutes=minutes,
            networks=networks,
            until_mape=until_mape,
            settings=profile_settings("fast" if fast else "precise" if precise else "default"),
            resolutions=parse_resolutions(resolutions),
            out=out,
            seed=seed,
            on_progress=progress.on_profile,
        )
    table, card = profiled.table, profiled.card
    text = [f"{profiled.path}", *card.lines()]
    document = {
        "table": str(profiled.path),
        "target": table.target.key,
        "networks": card.num_networks,
        "blocks": len(table.blocks),
        "sources": list(card.sources),
        "ended_by": profiled.ended_by,
        "speed_known_mape_percent": None if profiled.mape is None else 100 * profiled.mape,
        "mape_percent": 100 * card.scores.mape,
        "warnings": list(table.warnings),
    }
    if profiled.ended_by is not None:
        tell(describe_end(profiled.ended_by, profiled.mape, until_mape))
    answer("\n".join([*text, *(f"warning: {warning}" for warning in table.warnings)]), document, as_json=json)
