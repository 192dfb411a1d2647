from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.cli._options import AllowPowerMode, DeviceName, Json, parse_resolutions


def profile(
    device: DeviceName = "cpu",
    space: Annotated[str, typer.Option(help="Search space.")] = "ofa-mbv3-w0.5",
    minutes: Annotated[float, typer.Option(help="Time to measure.")] = 2.0,
    networks: Annotated[int | None, typer.Option(help="Stop when the table holds so many whole networks.")] = None,
    resolutions: Annotated[str | None, typer.Option(help="Image sizes, for example 32-64 or 128-256:4.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of tables; by default the user's, where search finds it.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of what is measured.")] = 0,
    allow_power_mode: AllowPowerMode = False,
    json: Json = False,
) -> None:
    """Measure blocks and networks of a space on a device; write or extend its latency table."""
    from nat_deploy.cli._output import answer, progress_bar
    from nat_deploy.predictors.latency import make_card, table_path
    from nat_deploy.profiling import find_device, open_device, user_tables_folder
    from nat_deploy.profiling import profile as measure
    from nat_deploy.spaces import make_space
    from nat_deploy.walk.shipped import SHIPPED_RESOLUTIONS, SHIPPED_SPACE

    found = find_device(device, allow_power_mode=allow_power_mode)
    transport = open_device(found)
    sizes = parse_resolutions(resolutions) or (SHIPPED_RESOLUTIONS if space == SHIPPED_SPACE else None)
    search_space = make_space(space, resolutions=sizes)
    folder = out or user_tables_folder()
    with progress_bar() as progress:
        table = measure(
            found,
            search_space,
            out_dir=folder,
            minutes=minutes,
            num_networks=networks,
            seed=seed,
            transport=transport,
            on_progress=progress.on_profile,
        )
    path = table_path(folder, table.target, table.space)
    card = make_card(search_space, table)
    text = "\n".join([f"{path}", *card.lines(), *(f"warning: {warning}" for warning in table.warnings)])
    document = {
        "table": str(path),
        "target": table.target.key,
        "networks": len(table.networks),
        "blocks": len(table.blocks),
        "mape_percent": 100 * card.scores.mape,
        "warnings": list(table.warnings),
    }
    answer(text, document, as_json=json)
