from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nat_deploy.cli._options import AllowPowerMode, DeviceName, Json, parse_counts

if TYPE_CHECKING:
    from nat_deploy.walk.benchmark import BenchmarkResult, Throughput
    from profilers import Comparison

_PERCENTILES = (90, 95, 99)
_FAR = 3.0  # from so many times on, percent are hard to read


def benchmark(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Model files that the device's runtime reads; several take turns and are compared with the first. Known networks go "
            "by name: efficientnet_b0, mobilenet_v2, mobilenet_v3_large, resnet18, at 224 pixels."
        ),
    ],
    device: DeviceName = "cpu",
    batch: Annotated[
        str | None,
        typer.Option(help="Batch size instead of the device's; several, as 1,8,32, give a table of throughputs."),
    ] = None,
    threads: Annotated[
        str | None, typer.Option(help="Threads instead of the device's; one number or several, as --batch.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Until the interval is 2 % up and down, instead of 1 %.")] = False,
    precise: Annotated[bool, typer.Option("--precise", help="Until it is 0.5 % up and down.")] = False,
    allow_power_mode: AllowPowerMode = False,
    json: Json = False,
) -> None:
    """Measure model files on a device: latency with interval and percentiles, throughput, memory; the prediction beside it."""
    from nat_deploy.cli._output import answer, progress_bar, tell_of_waiting
    from nat_deploy.errors import InputError
    from nat_deploy.walk.benchmark import benchmark_files
    from profilers import Settings

    batch_sizes, thread_counts = parse_counts("--batch", batch), parse_counts("--threads", threads)
    if fast and precise:
        raise InputError("a benchmark is either --fast or --precise, but both came; leave one out")
    settings = Settings.preset("fast" if fast else "precise" if precise else "default")
    with progress_bar() as progress:
        progress.update("measuring", 0, 1)
        found = benchmark_files(
            files,
            device,
            batch_sizes=batch_sizes,
            threads=thread_counts,
            settings=settings,
            allow_power_mode=allow_power_mode,
            on_event=tell_of_waiting,
        )
        progress.update("measuring", 1, 1)
    lines = [line for result in found.results for line in _lines(result)]
    documents = [_document(result) for result in found.results]
    throughputs = [_throughput_document(row) for row in found.throughputs]
    document: dict[str, object] = documents[0] | {"throughputs": throughputs}
    if len(files) > 1:
        pairs = list(zip(files[1:], found.comparisons, strict=True))
        lines += [_sentence(file, files[0], compared) for file, compared in pairs]
        comparisons = [{**compared.to_json(), "first": str(file), "second": str(files[0])} for file, compared in pairs]
        document = {"models": documents, "comparisons": comparisons, "throughputs": throughputs}
    answer("\n".join([*lines, *_table(found.throughputs)]), document, as_json=json)


def _table(throughputs: Sequence["Throughput"]) -> list[str]:
    if not throughputs:
        return []
    rows = []
    for row in throughputs:
        predicted = "" if row.predicted_images_per_second is None else f", predicted {row.predicted_images_per_second:.1f}"
        measured = f"{row.images_per_second:10.1f} ({row.low:.1f} to {row.high:.1f})"
        rows.append(f"{measured}  batch {row.batch_size}, threads {row.threads}, {row.name}{predicted}")
    return ["images a second (interval):", *rows]


def _throughput_document(row: "Throughput") -> dict[str, object]:
    from dataclasses import asdict

    document = asdict(row)
    return {"model": document.pop("name"), **document, "predicted_images_per_second": row.predicted_images_per_second}


def _lines(result: "BenchmarkResult") -> list[str]:
    measured = result.measurement
    shown = [f"p25 {measured.p25_ms:.3f} ms"]
    shown += [f"{name[:-3]} {value:.3f} ms" for name, value in _percentiles(result).items() if value is not None]
    lines = [
        f"{result.name} on {measured.target.key}, {result.num_bytes / 1e6:.2f} MB, loaded in {measured.load_ms:.0f} ms",
        f"median {measured.median_ms:.3f} ms ({measured.low_ms:.3f} to {measured.high_ms:.3f}), {', '.join(shown)}",
        f"{result.images_per_second:.0f} images a second, one after the other",
    ]
    if result.peak_memory_bytes is not None:
        lines.append(f"{result.peak_memory_bytes / 1e6:.1f} MB of memory at most, to load and to run")
    if result.energy_mj is not None:
        lines.append(f"{measured.power_w:.1f} W while it ran, {result.energy_mj:.1f} mJ an image, idle power included")
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
    if compared.low > _FAR:
        return f"{file} against {first}: takes {compared.ratio:.1f} times as long ({compared.low:.1f} to {compared.high:.1f})"
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
        "model": result.name,
        "target": measured.target.key,
        "num_bytes": result.num_bytes,
        "median_ms": measured.median_ms,
        "low_ms": measured.low_ms,
        "high_ms": measured.high_ms,
        "p25_ms": measured.p25_ms,
        **_percentiles(result),
        "load_ms": measured.load_ms,
        "peak_memory_bytes": result.peak_memory_bytes,
        "power_w": measured.power_w,
        "energy_mj": result.energy_mj,
        "images_per_second": result.images_per_second,
        "converged": measured.converged,
        "predicted": None if result.predicted is None else asdict(result.predicted),
        "warnings": [warning.message for warning in measured.warnings],
    }
