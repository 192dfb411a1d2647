from typing import TYPE_CHECKING, Annotated

import typer

from nat_deploy.cli._options import Json

if TYPE_CHECKING:
    from nat_deploy.profiling import Device
    from profilers import DeviceFacts, Noise

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
    from nat_deploy.errors import NatDeployError
    from nat_deploy.profiling import find_device, open_device, read_target
    from profilers.errors import ProfilerError

    device = find_device(name)
    transport = open_device(device)
    missing: list[str] = []
    target = noise = None
    try:
        facts, target = read_target(device, transport)
    except NatDeployError as error:
        missing.append(str(error))
    try:
        # Needs no runtime, so that a device that lacks one is still told of the rest.
        noise = transport.noise(seconds=seconds)
        facts = noise.facts
    except ProfilerError as error:
        missing += [] if target is None and str(error) in missing[0] else [f"device '{name}': {error}"]
    if target is not None or noise is not None:
        missing += _misfits(device, facts)
    lines = [f"{name}: {'not ready' if missing else 'ready'}", *(f"missing: {sentence}" for sentence in missing)]
    if target is not None:
        lines += [f"target {target.key}"]
    if noise is not None:
        lines += _noise_lines(noise)
    document = {
        "device": name,
        "is_ready": not missing,
        "missing": missing,
        "target": None if target is None else target.key,
        "facts": None if noise is None else noise.facts.to_json(),
        "noise": None if noise is None else {**noise.to_json(), "advice": list(noise.advice)},
    }
    answer("\n".join(lines), document, as_json=json)
    if missing:
        raise typer.Exit(1)


def _misfits(device: "Device", facts: "DeviceFacts") -> list[str]:
    """What the description of a device asks for and the device does not have."""
    cores = facts.num_cores
    found = []
    if device.threads > cores:
        found.append(f"threads must be at most {cores}, as many as there are cores, but they are {device.threads}; lower them")
    absent = [cpu for cpu in device.affinity or () if cpu >= cores]
    if absent:
        found.append(f"affinity must name CPUs from 0 to {cores - 1}, but {absent} came; correct it")
    if len(device.affinity or range(device.threads)) < device.threads:
        found.append(f"affinity must name a CPU for each of {device.threads} threads, but it is {device.affinity}; add CPUs")
    return found


def _battery(facts: "DeviceFacts") -> str | None:
    if facts.battery_percent is None:
        return None
    heat = "" if facts.battery_c is None else f" at {facts.battery_c:.0f} degrees Celsius"
    return f"{facts.battery_percent:.0f} %{heat}{', charging' if facts.is_charging else ''}"


def _noise_lines(noise: "Noise") -> list[str]:
    facts = noise.facts
    known = {
        "governor": facts.governor,
        "turbo": None if facts.turbo is None else "on" if facts.turbo else "off",
        "clock": None if facts.cpu_mhz is None else f"{facts.cpu_mhz:.0f} MHz",
        "temperature": None if facts.temperature_c is None else f"{facts.temperature_c:.0f} degrees Celsius",
        "quota": None if facts.cpu_quota_cores is None else f"{facts.cpu_quota_cores:g} cores",
        "steal": None if facts.steal_share is None else f"{100 * facts.steal_share:.1f} %",
        "clusters": facts.cpu_clusters,
        "thermal status": facts.thermal_status,
        "battery": _battery(facts),
        "screen": None if facts.is_screen_on is None else "on" if facts.is_screen_on else "off",
        "load average": None if facts.load_average is None else f"{facts.load_average:g}",
        "free memory": None if facts.free_ram_mb is None else f"{facts.free_ram_mb:.0f} MB",
    }
    return [
        f"{facts.cpu_model}, {facts.num_cores} cores, "
        + ", ".join(f"{name} {value}" for name, value in known.items() if value is not None),
        f"{noise.verdict}: round medians vary by {100 * noise.variation:.1f} % (quiet below 2 %, noisy above 5 %), the slowest "
        f"tenth is {100 * noise.swing:.0f} % above the fastest, {100 * noise.slow_share:.1f} % of the runs are slow; {noise.meaning}",
        *(f"- {sentence}" for sentence in noise.advice),
    ]
