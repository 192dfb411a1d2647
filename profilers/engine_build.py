"""Building an engine on the device that it is for, and running it once so that its outputs can be compared elsewhere."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from profilers.device_facts import read_facts
from profilers.device_lock import device_lock
from profilers.errors import JobError, RuntimeFailedError
from profilers.runtimes import open_builder
from profilers.runtimes.tensorrt.builder import BUILD_S
from profilers.runtimes.tensorrt.engine_record import EngineRecord, write_record, write_whole

if TYPE_CHECKING:
    from profilers.runtimes.base import Array
    from profilers.runtimes.tensorrt import EngineBuilder

    Emit = Callable[[dict[str, Any]], None]

_HEARTBEAT_S = 5.0


@dataclass(frozen=True)
class EngineRequest:
    """What to build.

    Args:
        runtime: "tensorrt" or "tensorrt-rtx", with words of a timing mode after a colon ("tensorrt:level5").
        precision: What the graph computes in.
        batch_size: The one batch size that the engine takes.
        compute_capabilities: Of the GPUs that an engine of TensorRT-RTX is for; empty leaves the choice to it.
    """

    runtime: str
    precision: str = "fp32"
    batch_size: int = 1
    compute_capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineBuild:
    """What came of it; outputs are None where the engine cannot run on the machine that built it."""

    record: EngineRecord
    outputs: Mapping[str, Array] | None


def build_on_this_device(
    request: EngineRequest,
    model: Path,
    engine: Path,
    emit: Emit,
    *,
    inputs_file: Path | None = None,
    outputs_file: Path | None = None,
    wait_s: float = BUILD_S,
    builder_named: Callable[[str], EngineBuilder] = open_builder,
) -> None:
    """Write an engine with its record beside it, and the outputs that it gives to some inputs.

    Args:
        request: What to build.
        model: The ONNX file.
        engine: The file to write.
        emit: Takes heartbeats while it is built, and then {"event": "built", "engine": record, "has_run": ..., "warnings": [...]}.
        inputs_file: `.npz` with arrays of n items by input name; n need not be the batch size.
        outputs_file: `.npz` to write, where the engine can run here.
        wait_s: How long to wait for another profiler on this device.
        builder_named: Opens the builder; tests bring their own.

    Raises:
        RuntimeNotInstalledError: What building needs is not on this device.
        ModelFileError: The model cannot be read, or the engine not be written.
        RuntimeFailedError: The engine cannot be built or run.
        DeviceBusyError: Another profiler did not finish in time.
    """
    builder = builder_named(request.runtime)
    builder.check_builds()
    lock = device_lock(read_facts().device, wait_s=wait_s, on_wait=lambda message: emit({"event": "waiting", "message": message}))
    with lock, _Heartbeat(emit):
        built = builder.build(
            model,
            precision=request.precision,
            batch_size=request.batch_size,
            compute_capabilities=request.compute_capabilities,
        )
        write_whole(engine, built.plan)
        write_record(engine, built.record)
        has_run = inputs_file is not None and outputs_file is not None and builder.runs_here(built.record)
        if has_run and inputs_file is not None and outputs_file is not None:
            outputs = _run_all(builder, engine, request, load_arrays(inputs_file))
            save_arrays(outputs_file, outputs)
    emit({"event": "built", "engine": built.record.to_json(), "has_run": has_run, "warnings": list(built.warnings)})


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write a `.npz` file."""
    savez: Any = np.savez  # a name of an array may be any word, which its signature does not say
    with path.open("wb") as file:
        savez(file, **arrays)


def load_arrays(path: Path) -> dict[str, Array]:
    """Read a `.npz` file.

    Raises:
        JobError: It cannot be read.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise JobError(f"{str(path)!r} must be a file of arrays, but it cannot be read ({error}); write it again.") from error


def _run_all(builder: EngineBuilder, engine: Path, request: EngineRequest, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run n items in batches; the last batch is filled up with its own last item, which is then left out."""
    counts = {len(values) for values in inputs.values()}
    if len(counts) != 1 or 0 in counts:
        raise RuntimeFailedError(f"inputs must all hold the same number of items, but they hold {sorted(counts)}; correct them.")
    (count,) = counts
    batches: list[dict[str, Array]] = []
    with builder.load(engine, batch_size=request.batch_size) as session:
        for start in range(0, count, request.batch_size):
            places = np.minimum(np.arange(start, start + request.batch_size), count - 1)
            batches.append(session.infer({name: values[places] for name, values in inputs.items()}))
    return {name: np.concatenate([batch[name] for batch in batches])[:count] for name in batches[0]}


class _Heartbeat:
    """Tells every few seconds that the work goes on: TensorRT says nothing while it builds."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def _beat(self) -> None:
        seconds = 0.0
        while not self._done.wait(_HEARTBEAT_S):
            seconds += _HEARTBEAT_S
            self._emit({"event": "heartbeat", "seconds": seconds})

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()


def build_arguments(request: EngineRequest, model: str, engine: str, inputs: str | None, outputs: str | None) -> list[str]:
    """Arguments of `python3 -m profilers` that build an engine; the paths are those of the device."""
    arguments = ["build", model, "--engine", engine, "--runtime", request.runtime, "--precision", request.precision]
    arguments += ["--batch-size", str(request.batch_size)]
    for capability in request.compute_capabilities:
        arguments += ["--compute-capability", capability]
    if inputs is not None and outputs is not None:
        arguments += ["--inputs", inputs, "--outputs", outputs]
    return arguments
