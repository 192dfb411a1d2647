"""Benchmark: what model files cost on a device, side by side, with predictions beside them where there are any."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from nat_deploy.errors import InputError, MeasurementError, MissingError, NatDeployError
from nat_deploy.export.reference_models import REFERENCE_NAMES, write_reference_model
from nat_deploy.export.sidecar import Sidecar, load_sidecar, sidecar_path
from nat_deploy.profiling import Device, find_device, measure_models
from nat_deploy.spaces.subnet_file import SubnetFile
from nat_deploy.walk.describe import PredictedLatency, predict_latency
from profilers import Comparison, Measurement, ModelFile, Settings, compare
from profilers.errors import JobError

_ONLY_RUNTIME = {".tflite": "litert", ".pte": "executorch", ".xml": "openvino"}  # other formats are told apart by the runtimes
_ONCE = Settings(half_width=0.5, round_ms=1.0, cap_s=0.1, warm_up_ms=1.0, warm_up_cap_s=0.1)  # where no time is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """A measured model.

    name            as it was asked for: the path, or the name of a reference model
    num_bytes       of all its files
    peak_memory_bytes  what the process that loads and runs it alone grows by at most; None where the runtime keeps it elsewhere
    predicted       None where no architecture or no table is known; `why_not_predicted` then says why
    """

    name: str
    model: Path
    num_bytes: int
    measurement: Measurement
    peak_memory_bytes: int | None
    predicted: PredictedLatency | None
    why_not_predicted: str | None

    @property
    def images_per_second(self) -> float:
        """Throughput of one caller who waits for each answer."""
        return _images_per_second(self.measurement, self.measurement.median_ms)

    @property
    def energy_mj(self) -> float | None:
        """Energy of the whole device for one image, in millijoules, idle power included; None where the device does not tell."""
        return None if self.measurement.power_w is None else 1000.0 * self.measurement.power_w / self.images_per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Images a second of one caller who waits for each batch, and the interval that holds them 95 of 100 times.

    name            of the model, as it was asked for
    predicted       latency of a batch; None where no architecture or no table of this batch size and these threads is known
    """

    name: str
    batch_size: int
    threads: int
    images_per_second: float
    low: float
    high: float
    predicted: PredictedLatency | None

    @property
    def predicted_images_per_second(self) -> float | None:
        """What the predicted latency amounts to."""
        return None if self.predicted is None else 1000.0 * self.batch_size / self.predicted.value_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Models measured in one sitting.

    comparisons     each model but the first against the first, in their order; ids are places in `results`
    throughputs     of every model at every batch size and number of threads, where several were asked for
    """

    results: tuple[BenchmarkResult, ...]
    comparisons: tuple[Comparison, ...]
    throughputs: tuple[Throughput, ...]


def benchmark_files(
    models: Sequence[Path],
    device_name: str,
    *,
    batch_sizes: Sequence[int] = (),
    threads: Sequence[int] = (),
    settings: Settings | None = None,
    allow_power_mode: bool = False,
    tables: Path | None = None,
    cache_dir: Path | None = None,
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
) -> Benchmark:
    """Measure model files, taking turns, and compare them with the first.

    Args:
        models: One or more files, or names of `REFERENCE_NAMES`; the same file twice shows how far a difference is noise.
        batch_sizes: Latencies are measured at the first one, throughputs at each; by default the device's.
        threads: As `batch_sizes`.
        tables: Run folder whose latency tables are known too.
        cache_dir: Where reference models are kept; by default the user's cache folder.

    Raises:
        MissingError: There is no such file.
        InputError: A file is made for the runtime of another device, or a batch size or number of threads is below 1.
        DeviceError: The device cannot measure from here.
        MeasurementError: The device cannot run a model, or not at that batch size.
    """
    names = [str(model) for model in models]
    models = [_find_model(model, cache_dir) for model in models]
    described = find_device(device_name, allow_power_mode=allow_power_mode)
    pairs = list(product(batch_sizes or (described.batch_size,), threads or (described.threads,)))
    devices = [described.with_settings(batch_size=batch_size, threads=count) for batch_size, count in pairs]
    device = devices[0]
    _check_formats(models, device)
    settings = settings or Settings()
    exact = settings.for_comparison() if len(models) > 1 else settings
    measured = _measure(models, device, exact, on_event)
    try:
        comparisons = tuple(compare(other, measured[0]) for other in measured[1:])
    except JobError as error:  # a crash of one of them took the sitting apart
        raise MeasurementError(f"device '{device.name}': {error}") from error
    results = [_result(*found, device, tables) for found in zip(names, models, measured, strict=True)]
    if len(models) > 1:  # memory can be told only of a model that is alone in its process
        results = [
            replace(result, peak_memory_bytes=_measure([result.model], device, _ONCE, on_event)[0].peak_memory_bytes)
            for result in results
        ]
    throughputs: list[Throughput] = []
    if len(devices) > 1:
        throughputs += [_throughput(result) for result in results]
    for other in devices[1:]:
        throughputs += [
            _throughput(_result(*found, other, tables))
            for found in zip(names, models, _measure(models, other, settings, on_event), strict=True)
        ]
    return Benchmark(results=tuple(results), comparisons=comparisons, throughputs=tuple(throughputs))


def benchmark_file(
    model: Path,
    device_name: str,
    *,
    settings: Settings | None = None,
    tables: Path | None = None,
) -> BenchmarkResult:
    """Measure one model file; as `benchmark_files`."""
    return benchmark_files([model], device_name, settings=settings, tables=tables).results[0]


def _find_model(model: Path, cache_dir: Path | None) -> Path:
    if model.is_file():
        return model
    if str(model) in REFERENCE_NAMES:
        return write_reference_model(str(model), cache_dir=cache_dir)
    raise MissingError(
        f"model '{model}' must be a file or one of {', '.join(REFERENCE_NAMES)}, but it is neither; "
        "make a file with: natdeploy export SUBNET --format onnx"
    )


def _measure(
    models: Sequence[Path], device: Device, settings: Settings, on_event: Callable[[Mapping[str, Any]], None] | None
) -> list[Measurement]:
    """All in one sitting; ids are places in `models`."""
    with tempfile.TemporaryDirectory(prefix="natdeploy-") as folder:
        return measure_models(
            device,
            [ModelFile(str(number), str(model)) for number, model in enumerate(models)],
            results_path=Path(folder) / "results.jsonl",
            together=True,
            settings=settings,
            on_event=on_event,
        )


def _throughput(result: BenchmarkResult) -> Throughput:
    measurement = result.measurement
    return Throughput(
        name=result.name,
        batch_size=measurement.target.batch_size,
        threads=measurement.target.threads,
        images_per_second=result.images_per_second,
        low=_images_per_second(measurement, measurement.high_ms),
        high=_images_per_second(measurement, measurement.low_ms),
        predicted=result.predicted,
    )


def _images_per_second(measurement: Measurement, latency_ms: float) -> float:
    return 1000.0 * measurement.target.batch_size / latency_ms


def _check_formats(models: Sequence[Path], device: Device) -> None:
    for model in models:
        runtime = _ONLY_RUNTIME.get(model.suffix, device.runtime)
        if runtime != device.runtime:
            raise InputError(
                f"a {model.suffix} model needs a device whose runtime is {runtime}, but device '{device.name}' runs {device.runtime}; "
                f'choose another --device, or write one with runtime = "{runtime}" into devices.toml'
            )


def _weights_beside(model: Path) -> tuple[Path, ...]:
    """OpenVINO keeps weights in a file of their own."""
    weights = model.with_suffix(".bin")
    return (weights,) if model.suffix == ".xml" and weights.is_file() else ()


def _result(name: str, model: Path, measurement: Measurement, device: Device, tables: Path | None) -> BenchmarkResult:
    sidecar, reason = (None, "it is of no search space") if str(model) != name else _read_sidecar(model)
    predicted = None
    if sidecar is not None:
        # The target is named after what the graph computes in, whatever the device is described with.
        device = replace(device, precision=sidecar.precision)
        measurement = replace(measurement, target=replace(measurement.target, precision=sidecar.precision))
        predicted, reason = _predict(sidecar, device, tables)
    return BenchmarkResult(
        name=name,
        model=model,
        num_bytes=sum(part.stat().st_size for part in (model, *_weights_beside(model))),
        measurement=measurement,
        peak_memory_bytes=measurement.peak_memory_bytes,
        predicted=predicted,
        why_not_predicted=reason,
    )


def _read_sidecar(model: Path) -> tuple[Sidecar | None, str | None]:
    """A benchmark is worth having without a prediction, so what stands in its way is told and not raised."""
    if not sidecar_path(model).is_file():
        return None, f"no sidecar '{sidecar_path(model).name}' says which architecture this is"
    try:
        return load_sidecar(model), None
    except NatDeployError as error:
        return None, str(error)


def _predict(sidecar: Sidecar, device: Device, tables: Path | None) -> tuple[PredictedLatency | None, str | None]:
    try:
        subnet = SubnetFile(architecture=sidecar.architecture, num_classes=sidecar.num_classes)
        return predict_latency(subnet, device, tables), None
    except NatDeployError as error:
        return None, str(error)
