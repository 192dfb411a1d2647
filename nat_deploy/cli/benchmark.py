from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nat_deploy.cli._options import AllowPowerMode, DeviceName, Json

if TYPE_CHECKING:
    from nat_deploy.walk.benchmark import BenchmarkResult
    from profilers import Comparison

_PERCENTILES = (90, 95, 99)


def benchmark(
    files: Annotated[
        list[Path],
        typer.Argument(help="Model files that the device's runtime reads; several take turns and are compared with the first."),
    ],
    device: DeviceName = "cpu",
    fast: Annotated[bool, typer.Option("--fast", help="Until the interval is 2 % up and down, instead of 1 %.")] = False,
    precise: Annotated[bool, typer.Option("--precise", help="Until it is 0.5 % up and down.")] = False,
    allow_power_mode: AllowPowerMode = False,
    json: Json = False,
) -> None:
    """Measure model files on a device: latency with interval, percentiles, throughput; the prediction beside it."""
    from nat_deploy.cli._output import answer, progress_bar
    from nat_deploy.errors import InputError
    from nat_deploy.walk.benchmark import benchmark_files
    from profilers import Settings

    if fast and precise:
        raise InputError("a benchmark is either --fast or --precise, but both came; leave one out")
    settings = Settings.preset("fast" if fast else "precise" if precise else "default")
    with progress_bar() as progress:
        progress.update("measuring", 0, 1)
        found = benchmark_files(files, device, settings=settings, allow_power_mode=allow_power_mode)
        progress.update("measuring", 1, 1)
    lines = [line for result in found.results for line in _lines(result)]
    documents = [_document(result) for result in found.results]
    if len(files) == 1:
        answer("\n".join(lines), documents[0], as_json=json)
        return
    pairs = list(zip(files[1:], found.comparisons, strict=True))
    lines += [_sentence(file, files[0], compared) for file, compared in pairs]
    comparisons = [{**compared.to_json(), "first": str(file), "second": str(files[0])} for file, compared in pairs]
    answer("\n".join(lines), {"models": documents, "comparisons": comparisons}, as_json=json)


def _lines(result: "BenchmarkResult") -> list[str]:
    measured = result.measurement
    shown = [f"p25 {measured.p25_ms:.3f} ms"]
    shown += [f"{name[:-3]} {value:.3f} ms" for name, value in _percentiles(result).items() if value is not None]
    lines = [
        f"{result.model} on {measured.target.key}, {result.num_bytes / 1e6:.2f} MB, loaded in {measured.load_ms:.0f} ms",
        f"median {measured.median_ms:.3f} ms ({measured.low_ms:.3f} to {measured.high_ms:.3f}), {', '.join(shown)}",
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
    return lines + [f"warning: {warning.message}" for warning in measured.warnings]


def _sentence(file: Path, first: Path, compared: "Comparison") -> str:
    """How a file compares with the first one, in percent of the time of the first."""
    low, middle, high = (100 * (ratio - 1) for ratio in (compared.low, compared.ratio, compared.high))
    if compared.verdict == "no difference":
        return f"{file} against {first}: no difference outside the noise ({low:+.1f} % to {high:+.1f} %)"
    if compared.verdict == "faster":
        return f"{file} against {first}: {-middle:.1f} % faster ({-high:.1f} to {-low:.1f} % less time)"
    return f"{file} against {first}: {middle:.1f} % slower ({low:.1f} to {high:.1f} % more time)"


def _percentiles(result: "BenchmarkResult") -> dict[str, float | None]:
    """None where there are too few runs to bound a percentile."""
    return {f"p{share}_ms": result.measurement.percentile_ms(share) for share in _PERCENTILES}


def _document(result: "BenchmarkResult") -> dict[str, object]:
    from dataclasses import asdict

    measured = result.measurement
    return {
        "model": str(result.model),
        "target": measured.target.key,
        "num_bytes": result.num_bytes,
        "median_ms": measured.median_ms,
        "low_ms": measured.low_ms,
        "high_ms": measured.high_ms,
        "p25_ms": measured.p25_ms,
        **_percentiles(result),
        "load_ms": measured.load_ms,
        "images_per_second": result.images_per_second,
        "converged": measured.converged,
        "predicted": None if result.predicted is None else asdict(result.predicted),
        "warnings": [warning.message for warning in measured.warnings],
    }
