"""An exported ONNX model as an engine, built where it will run, or by TensorRT-RTX for GPUs that are elsewhere.

An engine of TensorRT belongs to the version and the GPU that built it, so it is built by the agent on the device and fetched from
there. TensorRT-RTX builds on any x86-64 machine; without a GPU the engine cannot be run, and then the comparison of outputs that
its sidecar shows is that of the ONNX model it was built from.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import DeviceError, InputError, MissingError, WorkError
from nat_deploy.export.export_subnet import ExportReport
from nat_deploy.export.formats import ENGINE_FORMATS
from nat_deploy.export.parity import Tolerance, compare, run_model
from nat_deploy.export.sidecar import Sidecar, save_sidecar, sidecar_path
from nat_deploy.files import open_atomically
from nat_deploy.profiling import Device, find_device, open_device
from profilers.engine_build import EngineBuild, EngineRequest
from profilers.errors import ProfilerError, RuntimeNotInstalledError, TransportError
from profilers.transports.base import Transport

# An engine and ONNX Runtime add up in different orders; fp16 and int8 round on top of that.
ENGINE_TOLERANCES = {
    "fp32": Tolerance(relative_error=1e-3, top1_agreement=0.9),
    "fp16": Tolerance(relative_error=5e-2, top1_agreement=0.9),
    "int8": Tolerance(relative_error=1.0, top1_agreement=0.8),
}
_NUM_IMAGES = 16

OnEvent = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """What an export to an engine left behind.

    was_run   whether the engine's own outputs were compared; the sidecar tells those of the ONNX model otherwise
    """

    engine: Path
    sidecar_file: Path
    sidecar: Sidecar
    was_run: bool


def engine_device(format: str, name: str | None) -> Device:
    """The device that builds an engine: this machine's GPU by default; TensorRT-RTX runs here and needs none.

    Raises:
        DeviceError: The device is unknown, or does not run TensorRT.
    """
    if format == "trt-rtx":
        if name is not None:
            raise DeviceError(f"format 'trt-rtx' is built on this machine, but --device {name} came; leave it out")
        return Device(name="this machine", runtime="tensorrt-rtx")
    device = find_device(name or "gpu")
    if not device.runtime.startswith("tensorrt"):
        raise DeviceError(
            f"format 'trt' needs a device with the runtime 'tensorrt', but '{device.name}' has '{device.runtime}'; "
            'use --device gpu, or describe a device with runtime = "tensorrt" in devices.toml'
        )
    return device


def check_engine_can_be_built(format: str, device: Device, transport: Transport) -> None:
    """Ask the device before the work begins.

    Raises:
        MissingError: It lacks something; the sentence says what and what to do.
        DeviceError: It cannot be reached.
    """
    with _told_as_ours(format, device):
        transport.check_builds(device.runtime)


def export_engine(
    exported: ExportReport,
    out: Path,
    *,
    format: str,
    device: Device,
    precision: str = "fp32",
    batch_size: int | None = None,
    compute_capabilities: Sequence[str] = (),
    transport: Transport | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
) -> EngineReport:
    """Build an engine from an ONNX export and write it with its sidecar; both appear only when its outputs, if it can run, agree.

    Args:
        exported: The ONNX model, in the precision that the engine is to compute in.
        out: The file to write.
        format: One of `ENGINE_FORMATS`.
        device: Where it is built, from `engine_device`.
        precision: Of the ONNX model.
        batch_size: The one batch size that the engine takes; by default that of the device.
        compute_capabilities: Of the GPUs that an engine of TensorRT-RTX is for, as "8.6"; by default its own choice.
        transport: The way to the device, by default the one its description asks for.
        seed: Of the random images whose outputs are compared.
        on_event: Takes every event of the device.

    Raises:
        MissingError: The device lacks what building needs.
        DeviceError: The device cannot be reached.
        InputError: The place cannot be written, or compute capabilities do not go with the format.
        ParityError: The engine computes something else than the ONNX model; nothing is kept.
        WorkError: The engine cannot be built.
    """
    if format not in ENGINE_FORMATS:
        raise ValueError(f"format must be one of {ENGINE_FORMATS}, but is {format!r}")
    if compute_capabilities and format != "trt-rtx":
        raise InputError("--compute-capability goes with --format trt-rtx only, because TensorRT builds for the GPU that builds")
    if exported.sidecar.preprocessing:
        raise InputError("engines take normalised images so far, but --preprocessing came; leave it out, or export to onnx")
    transport = transport or open_device(device)
    request = EngineRequest(device.runtime, precision, batch_size or device.batch_size, tuple(compute_capabilities))
    images = _images(exported.sidecar.architecture.resolution, seed)
    with tempfile.TemporaryDirectory(prefix="natdeploy-") as folder:
        engine = Path(folder) / "model.engine"
        with _told_as_ours(format, device):
            built = transport.build_engine(request, exported.model, engine, inputs={"images": images}, on_event=on_event)
        sidecar = _sidecar(exported, out, format, built, images)
        with open_atomically(out) as file:
            file.write(engine.read_bytes())
            save_sidecar(sidecar_path(out), sidecar)  # first: an engine without its sidecar would be half an export
    return EngineReport(engine=out, sidecar_file=sidecar_path(out), sidecar=sidecar, was_run=built.outputs is not None)


def _sidecar(exported: ExportReport, out: Path, format: str, built: EngineBuild, images: NDArray[np.float32]) -> Sidecar:
    record, parity = built.record, exported.parity
    if built.outputs is not None:
        parity = compare(
            built.outputs["logits"],
            run_model(exported.model, images).astype(np.float64),
            tolerance=ENGINE_TOLERANCES[record.precision],
            images="random",
            runtime=f"{record.runtime} {record.runtime_version}, beside the ONNX model",
        )
    return replace(
        exported.sidecar,
        model=out.name,
        model_format=format,
        model_sha256=record.engine_sha256,
        num_bytes=record.num_bytes,
        parity=parity,
        engine=record,
    )


def _images(resolution: int, seed: int) -> NDArray[np.float32]:
    shape = (_NUM_IMAGES, 3, resolution, resolution)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@contextmanager
def _told_as_ours(format: str, device: Device) -> Iterator[None]:
    """Turn errors of the device into those of this package, by which the command line chooses its exit code."""
    what = f"format '{format}' on device '{device.name}'"
    try:
        yield
    except RuntimeNotInstalledError as error:
        raise MissingError(f"{what}: {error}") from error
    except TransportError as error:
        raise DeviceError(f"{what}: {error}") from error
    except ProfilerError as error:
        raise WorkError(f"{what}: {error}") from error
