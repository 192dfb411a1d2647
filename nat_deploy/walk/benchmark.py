"""Benchmark: the latency of an ONNX file on a device, with the prediction beside it where there is one."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nat_deploy.errors import MissingError, NatDeployError
from nat_deploy.export.sidecar import Sidecar, load_sidecar, sidecar_path
from nat_deploy.profiling import Device, find_device, measure_models
from nat_deploy.spaces.subnet_file import SubnetFile
from nat_deploy.walk.describe import PredictedLatency, predict_latency
from profilers import Measurement, ModelFile, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """A measured model.

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


def benchmark_file(
    model: Path,
    device_name: str,
    *,
    settings: Settings | None = None,
    allow_power_mode: bool = False,
    tables: Path | None = None,
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
) -> BenchmarkResult:
    """Measure an ONNX file.

    Args:
        tables: Run folder whose latency tables are known too.

    Raises:
        MissingError: There is no such file.
        DeviceError: The device cannot measure from here.
        MeasurementError: The device cannot run the model.
    """
    if not model.is_file():
        raise MissingError(f"model '{model}' must exist, but it does not; make one with: natdeploy export SUBNET --format onnx")
    device = find_device(device_name, allow_power_mode=allow_power_mode)
    sidecar, reason = _read_sidecar(model)
    if sidecar is not None:  # the target is named after what the graph computes in, whatever the device is described with
        device = replace(device, precision=sidecar.precision)
    with tempfile.TemporaryDirectory(prefix="natdeploy-") as folder:
        measured = measure_models(
            device,
            [ModelFile("model", str(model))],
            results_path=Path(folder) / "results.jsonl",
            settings=settings,
            on_event=on_event,
        )
    predicted = None
    if sidecar is not None:
        predicted, reason = _predict(sidecar, device, tables)
    return BenchmarkResult(
        model=model, num_bytes=model.stat().st_size, measurement=measured[0], predicted=predicted, why_not_predicted=reason
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
