from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.cli._options import AllowPowerMode, DeviceName, Json


class Exactness(StrEnum):
    """How narrow the interval must get: 2 %, 1 % or 0.5 % up and down."""

    fast = "fast"
    default = "default"
    precise = "precise"


def benchmark(
    file: Annotated[Path, typer.Argument(help="ONNX file.")],
    device: DeviceName = "cpu",
    exactness: Annotated[Exactness, typer.Option(help="Interval of 2 %, 1 % or 0.5 % up and down.")] = Exactness.default,
    allow_power_mode: AllowPowerMode = False,
    json: Json = False,
) -> None:
    """Measure an ONNX file on a device: latency with interval, percentiles, throughput; the prediction beside it."""
    from dataclasses import asdict

    from nat_deploy.cli._output import answer, progress_bar
    from nat_deploy.walk.benchmark import benchmark_file
    from profilers import Settings

    settings = Settings.preset(exactness.value)
    with progress_bar() as progress:
        progress.update("measuring", 0, 1)
        result = benchmark_file(file, device, settings=settings, allow_power_mode=allow_power_mode)
        progress.update("measuring", 1, 1)
    measured = result.measurement
    percentiles = {f"p{share}_ms": measured.percentile_ms(share) for share in (90, 95, 99)}
    shown = ", ".join(f"{name[:-3]} {value:.3f} ms" for name, value in percentiles.items() if value is not None)
    lines = [
        f"{result.model} on {measured.target.key}, {result.num_bytes / 1e6:.2f} MB, loaded in {measured.load_ms:.0f} ms",
        f"median {measured.median_ms:.3f} ms ({measured.low_ms:.3f} to {measured.high_ms:.3f}), p25 {measured.p25_ms:.3f} ms, {shown}",
        f"{result.images_per_second:.0f} images a second, one after the other",
    ]
    if result.predicted is not None:
        error = 100 * (result.predicted.value_ms / measured.p25_ms - 1)
        lines.append(
            f"predicted {result.predicted.value_ms:.3f} ms ({result.predicted.low_ms:.3f} to {result.predicted.high_ms:.3f}), "
            f"{error:+.1f} % of the measured p25"
        )
    else:
        lines.append(f"no prediction: {result.why_not_predicted}")
    lines += [f"warning: {warning.message}" for warning in measured.warnings]
    document = {
        "model": str(result.model),
        "target": measured.target.key,
        "num_bytes": result.num_bytes,
        "median_ms": measured.median_ms,
        "low_ms": measured.low_ms,
        "high_ms": measured.high_ms,
        "p25_ms": measured.p25_ms,
        **percentiles,
        "load_ms": measured.load_ms,
        "images_per_second": result.images_per_second,
        "converged": measured.converged,
        "predicted": None if result.predicted is None else asdict(result.predicted),
        "warnings": [warning.message for warning in measured.warnings],
    }
    answer("\n".join(lines), document, as_json=json)
