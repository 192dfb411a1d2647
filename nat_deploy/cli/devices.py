from typing import Annotated

import typer

from nat_deploy.cli._options import Json

app = typer.Typer(help="List known devices, or check one.", invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def list_devices(context: typer.Context, json: Json = False) -> None:
    """List known devices: those built in and those in devices.toml."""
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from nat_deploy.cli._output import answer
    from nat_deploy.profiling import device_files, load_devices

    devices = load_devices()
    rows = [
        f"{device.name:16} {device.transport:8} {device.runtime:14} {device.precision:6} {device.threads} thread(s), batch {device.batch_size}"
        for device in devices.values()
    ]
    files = " or ".join(str(path) for path in device_files())
    text = "\n".join([*rows, f"others are described in {files}"])
    answer(text, {"devices": [asdict(device) for device in devices.values()]}, as_json=json)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Name of the device.")],
    seconds: Annotated[float, typer.Option(min=0.5, max=60, help="How long to watch the device.")] = 2.0,
    json: Json = False,
) -> None:
    """Say whether a device is ready, and how noisy it is."""
    from nat_deploy.cli._output import answer
    from nat_deploy.profiling import find_device, open_device, read_target

    device = find_device(name)
    transport = open_device(device)
    facts, target = read_target(device, transport)
    noise = transport.noise(seconds=seconds)
    lines = [
        f"{name}: ready; {facts.cpu_model}, {facts.num_cores} cores, {device.runtime} {target.runtime_version}",
        f"target {target.key}",
        f"{noise.verdict}: round medians vary by {100 * noise.variation:.1f} %, {100 * noise.slow_share:.1f} % of the runs are slow",
        *noise.advice,
    ]
    document = {"device": name, "target": target.key, "facts": facts.to_json(), "noise": noise.to_json()}
    answer("\n".join(lines), document, as_json=json)
