"""Benchmark: the latency of model files on a device, side by side, with predictions beside them where there are any."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nat_deploy.errors import InputError, MeasurementError, MissingError, NatDeployError
from nat_deploy.export.sidecar import Sidecar, load_sidecar, sidecar_path
from nat_deploy.profiling import Device, find_device, measure_models
from nat_deploy.spaces.subnet_file import SubnetFile
from nat_deploy.walk.describe import PredictedLatency, predict_latency
from profilers import Comparison, Measurement, ModelFile, Settings, compare
from profilers.errors import JobError

_ONLY_RUNTIME = {".tflite": "litert", ".pte": "executorch", ".xml": "openvino"}  # other formats are told apart by the runtimes


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """A measured model.

    num_bytes       of all its files
    predicted       None where no architecture or no table is known; `why_not_predicted` then says why
    """

    model: Path
    num_bytes: int
    measurement: Measurement
    predicted: PredictedLatency | None
    why_not_predicted: str | None

    @property
    def images_per_second(self) -> float:
        """Throughput of one caller who waits for each answer."""
        return 1000.0 * self.measurement.target.batch_size / self.measurement.median_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Models measured in one sitting.

    comparisons     each model but the first against the first, in their order; ids are places in `results`
    """

    results: tuple[BenchmarkResult, ...]
    comparisons: tuple[Comparison, ...]


def benchmark_files(
    models: Sequence[Path],
    device_name: str,
    *,
    settings: Settings | None = None,
    allow_power_mode: bool = False,
    tables: Path | None = None,
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
) -> Benchmark:
    """Measure model files, taking turns, and compare them with the first.

    Args:
        models: One or more files; the same file twice shows how far a difference is noise.
        tables: Run folder whose latency tables are known too.

    Raises:
        MissingError: There is no such file.
        InputError: A file is made for the runtime of another device.
        DeviceError: The device cannot measure from here.
        MeasurementError: The device cannot run a model.
    """
    for model in models:
        if not model.is_file():
            raise MissingError(
                f"model '{model}' must exist, but it does not; make one with: natdeploy export SUBNET --format onnx"
            )
    device = find_device(device_name, allow_power_mode=allow_power_mode)
    _check_formats(models, device)
    settings = settings or Settings()
    with tempfile.TemporaryDirectory(prefix="natdeploy-") as folder:
        measured = measure_models(
            device,
            [ModelFile(str(number), str(model)) for number, model in enumerate(models)],
            results_path=Path(folder) / "results.jsonl",
            together=True,
            settings=settings.for_comparison() if len(models) > 1 else settings,
            on_event=on_event,
        )
    try:
        comparisons = tuple(compare(other, measured[0]) for other in measured[1:])
    except JobError as error:  # a crash of one of them took the sitting apart
        raise MeasurementError(f"device '{device.name}': {error}") from error
    results = [_result(model, measurement, device, tables) for model, measurement in zip(models, measured, strict=True)]
    return Benchmark(results=tuple(results), comparisons=comparisons)


def benchmark_file(
    model: Path,
    device_name: str,
    *,
    settings: Settings | None = None,
    tables: Path | None = None,
) -> BenchmarkResult:
    """Measure one model file; as `benchmark_files`."""
    return benchmark_files([model], device_name, settings=settings, tables=tables).results[0]


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


def _result(model: Path, measurement: Measurement, device: Device, tables: Path | None) -> BenchmarkResult:
    sidecar, reason = _read_sidecar(model)
    predicted = None
    if sidecar is not None:
        # The target is named after what the graph computes in, whatever the device is described with.
        device = replace(device, precision=sidecar.precision)
        measurement = replace(measurement, target=replace(measurement.target, precision=sidecar.precision))
        predicted, reason = _predict(sidecar, device, tables)
    return BenchmarkResult(
        model=model,
        num_bytes=sum(part.stat().st_size for part in (model, *_weights_beside(model))),
        measurement=measurement,
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
