from typing import Annotated

import typer

from nat_deploy.cli._options import BatchSize, Json, PrecisionName, Subnet, Threads


def describe(
    subnet: Subnet,
    device: Annotated[str | None, typer.Option(help="Predict the latency on this device.")] = None,
    threads: Threads = None,
    batch_size: BatchSize = None,
    precision: PrecisionName = None,
    json: Json = False,
) -> None:
    """Count MACs, parameters and peak activation memory of a subnet; predict its latency."""
    from dataclasses import asdict

    from nat_deploy.cli._output import answer
    from nat_deploy.profiling import find_device
    from nat_deploy.walk.describe import describe_subnet

    on = None
    if device is not None:
        on = find_device(device).with_settings(threads=threads, batch_size=batch_size, precision=precision)
    found = describe_subnet(subnet, device=on)
    arch = found.architecture
    width = f", width {' '.join(map(str, arch.width))}" if arch.width else ""
    lines = [
        f"{arch.space} at {arch.resolution} px, {found.num_classes} classes, depth {' '.join(map(str, arch.depth))}{width}",
        f"{found.macs / 1e6:.1f} M MACs, {found.num_params / 1e6:.2f} M parameters, {found.peak_activation_bytes / 1e6:.2f} MB peak activations",
        *(
            f"  {costs.block.key:62} {costs.macs / 1e6:8.2f} M MACs {costs.num_params / 1e3:9.1f} k parameters"
            for costs in found.blocks
        ),
    ]
    if found.latency is not None:
        guess = "; outside of what the table has seen, so the interval is a guess" if found.latency.is_outside else ""
        helped = f", with tables of {', '.join(found.latency.sources)}" if found.latency.sources else ""
        lines.insert(
            2,
            f"predicted {found.latency.value_ms:.3f} ms ({found.latency.low_ms:.3f} to {found.latency.high_ms:.3f}) "
            f"on {found.latency.target}{helped}{guess}",
        )
    document = {
        "space": arch.space,
        "resolution": arch.resolution,
        "num_classes": found.num_classes,
        "depth": arch.depth,
        "kernel": arch.kernel,
        "expand": arch.expand,
        "width": arch.width,
        "macs": found.macs,
        "num_params": found.num_params,
        "peak_activation_bytes": found.peak_activation_bytes,
        "blocks": [{"block": costs.block.key, "macs": costs.macs, "num_params": costs.num_params} for costs in found.blocks],
        "latency": None if found.latency is None else asdict(found.latency),
    }
    answer("\n".join(lines), document, as_json=json)
