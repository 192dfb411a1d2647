"""Measuring models on a device, interleaved in one sitting."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nat_deploy.errors import MeasurementError
from nat_deploy.profiling.devices import Device, open_device
from nat_deploy.profiling.graphs import write_networks
from nat_deploy.spaces import Architecture, SearchSpace
from profilers.device_facts import DeviceFacts
from profilers.errors import ProfilerError
from profilers.job import Job, ModelFile
from profilers.measurement import Measurement
from profilers.settings import Settings
from profilers.target import Target
from profilers.transports.base import Transport

OnEvent = Callable[[Mapping[str, Any]], None]  # events of `profilers.agent`, as they come from the device


def read_target(device: Device, transport: Transport) -> tuple[DeviceFacts, Target]:
    """What the device is, and the target that its measurements belong to.

    Raises:
        MeasurementError: The device does not answer, or lacks the runtime.
    """
    try:
        return transport.facts(
            runtime=device.runtime,
            threads=device.threads,
            precision=device.precision,
            batch_size=device.batch_size,
            power_mode=device.power_mode,
        )
    except ProfilerError as error:
        raise MeasurementError(f"device '{device.name}': {error}") from error


def measure_models(
    device: Device,
    models: Sequence[ModelFile],
    *,
    results_path: Path,
    reference: str | None = None,
    together: bool = False,
    settings: Settings | None = None,
    seed: int = 0,
    transport: Transport | None = None,
    on_event: OnEvent | None = None,
) -> list[Measurement]:
    """Measure ONNX files in one sitting, taking turns, so that drift of the device meets all alike.

    Args:
        results_path: Where finished rows are kept; rows it holds already are not measured again.
        reference: Id of the model that is timed again and again to see whether the device changed speed.
        together: All take rounds until the last one is done, so that any two can be compared round by round.
        settings: Those of the measuring protocol; its defaults otherwise.
        transport: The way to the device, by default the one its description asks for.

    Returns:
        One measurement per model, in their order.

    Raises:
        DeviceError: The device cannot measure here.
        MeasurementError: A model could not be measured; finished rows are kept.
    """
    transport = transport or open_device(device)
    results_path.parent.mkdir(parents=True, exist_ok=True)
    failures: dict[str, str] = {}

    def listen(event: dict[str, Any]) -> None:
        if event.get("event") == "failed":
            failures[str(event.get("id"))] = str(event.get("message"))
        if on_event is not None:
            on_event(event)

    job = Job(
        runtime=device.runtime,
        models=tuple(models),
        threads=device.threads,
        affinity=device.affinity,
        precision=device.precision,
        batch_size=device.batch_size,
        power_mode=device.power_mode,
        settings=settings or Settings(),
        reference=reference,
        seed=seed,
        group_size=len(models),
        together=together,
    )
    try:
        measured = transport.run_job(job, results_path=results_path, on_event=listen)
    except ProfilerError as error:
        raise MeasurementError(f"device '{device.name}': {error}") from error
    missing = [model.id for model in models if model.id not in {measurement.id for measurement in measured}]
    if missing:
        reason = failures.get(missing[0], "no reason was given")
        raise MeasurementError(
            f"device '{device.name}' must measure every model, but '{missing[0]}' failed ({reason}); measure again"
        )
    return measured


def measure_architectures(
    device: Device,
    space: SearchSpace,
    architectures: Sequence[Architecture],
    *,
    work_dir: Path,
    settings: Settings | None = None,
    seed: int = 0,
    transport: Transport | None = None,
    on_event: OnEvent | None = None,
) -> list[Measurement]:
    """Measure whole networks with random weights in one sitting; raw samples stay in `work_dir/measurements.jsonl`.

    Returns:
        One measurement per architecture, in their order. Calling again with the same arguments returns what was measured.

    Raises:
        As `measure_models`.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work_dir) as folder:
        models = write_networks(device, space, architectures, Path(folder), seed=seed)
        return measure_models(
            device,
            models,
            results_path=work_dir / "measurements.jsonl",
            settings=settings,
            seed=seed,
            transport=transport,
            on_event=on_event,
        )
