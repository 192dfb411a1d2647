"""Runs a job on the device itself: groups of models in workers, finished rows on disk at once.

Events are dicts with a key "event":
    waiting      message                      another profiler holds the device
    started      target, num_models, num_finished
    progress     id, stage                    "load", "warm_up", "round" or "wait"
    measurement  measurement, resumed         resumed: it was in the results file before
    failed       id, error, message
    heartbeat    seconds                      nothing else happened for a while
    done         num_measured, num_failed
"""

from __future__ import annotations

import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from profilers.device_lock import device_lock
from profilers.errors import ModelFileError, ProfilerError, WorkerDiedError, error_named, nothing_measured
from profilers.job import Job, ModelFile
from profilers.measurement import Measurement
from profilers.package import package_environment
from profilers.power_mode import hold_power_mode
from profilers.results import Failure, ResultsWriter, read_results
from profilers.runtimes import open_runtime
from profilers.runtimes.base import LoadsSlowly, OnAnotherDevice, facts_for, file_sha256, lock_name_for, timing_mode_of
from profilers.strict_json import dumps, loads
from profilers.target import Target

if TYPE_CHECKING:
    from profilers.runtimes.base import Runtime

    Emit = Callable[[dict[str, Any]], None]

HEARTBEAT_S = 5.0
_POLL_S = 1.0
WORKER_COMMAND = (sys.executable, "-m", "profilers", "worker")


def measure_job(
    job: Job,
    results_path: Path,
    emit: Emit,
    *,
    wait_s: float = 600.0,
    allow_power_mode: bool = False,
    runtime_named: Callable[[str], Runtime] = open_runtime,
    worker_command: Sequence[str] = WORKER_COMMAND,
) -> None:
    """Measure what the results file does not hold yet, and append each row as soon as it is finished.

    A row counts as finished when model bytes, target, settings and affinity are the same.

    Args:
        job: What to measure.
        results_path: Made if it is not there.
        emit: Takes the events.
        wait_s: How long to wait for another profiler on this device.
        allow_power_mode: The device may be put into the power mode of the job; it is put back afterwards.
        runtime_named: Opens the runtime; tests bring their own.
        worker_command: Starts a worker; tests bring their own.

    Raises:
        RuntimeNotInstalledError: The runtime is not on this device.
        DeviceBusyError: Another profiler did not finish in time.
        JobError: The results file cannot be read or continued, or the device is not in the power mode of the job.
        RuntimeFailedError: Not one model could be measured.
    """
    runtime = runtime_named(job.runtime)
    runtime.check_available()
    device = facts_for(runtime).device

    def tell_of_waiting(message: str) -> None:
        emit({"event": "waiting", "message": message})

    elsewhere = isinstance(runtime, OnAnotherDevice)
    lock = device_lock(lock_name_for(runtime, device), wait_s=wait_s, on_wait=tell_of_waiting)
    with lock, hold_power_mode(job.power_mode, allow_change=allow_power_mode, elsewhere=elsewhere) as power_mode:
        target = job.target_on(device, runtime.version(), power_mode, timing_mode_of(runtime))
        results = read_results(results_path)
        with ResultsWriter(results_path, results) as writer:
            longest_load_s = runtime.longest_load_s if isinstance(runtime, LoadsSlowly) else 0.0
            run = _Run(job, target, writer, emit, tuple(worker_command), longest_load_s)
            run.measure_all(results.measurements)
    emit({"event": "done", "num_measured": len(run.measured), "num_failed": len(run.failed)})
    if not run.measured:
        raise nothing_measured(run.failed)


@dataclass
class _Run:
    """One job while it is being measured."""

    job: Job
    target: Target
    writer: ResultsWriter
    emit: Emit
    worker_command: tuple[str, ...]
    longest_load_s: float  # of a runtime that compiles models
    measured: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # id -> message

    def measure_all(self, finished: Sequence[Measurement]) -> None:
        models = list(self._with_sha256())
        known = {row.key: row for row in finished}
        resumed = [(model, known.get(self._key_of(model))) for model in models]
        todo = [model for model, row in resumed if row is None]
        self.emit(
            {
                "event": "started",
                "target": self.target.to_json(),
                "num_models": len(self.job.models),
                "num_finished": len(models) - len(todo),
            }
        )
        for _, row in resumed:
            if row is not None:
                self.measured.add(row.id)
                self.emit({"event": "measurement", "measurement": row.to_json(), "resumed": True})
        for id, message in self.failed.items():
            self.emit({"event": "failed", "id": id, "error": "ModelFileError", "message": message})
        reference = next((model for model in models if model.id == self.job.reference), None)
        for start in range(0, len(todo), self.job.group_size):
            self._measure_group(todo[start : start + self.job.group_size], reference)

    def _measure_group(self, group: list[ModelFile], reference: ModelFile | None) -> None:
        """Time a group in one worker; if that dies, time what is left model by model to find the culprit."""
        try:
            self._run_worker(group, reference)
        except WorkerDiedError:
            left = [model for model in group if model.id not in self.measured and model.id not in self.failed]
            for model in left:
                try:
                    # Without the reference: it may be the one that crashes.
                    self._run_worker([model], None)
                except WorkerDiedError as error:
                    self._fail(model, error)

    def _run_worker(self, group: list[ModelFile], reference: ModelFile | None) -> None:
        extra = [] if reference is None or reference in group else [reference]
        part = self.job.with_models([*group, *extra], reference=reference.id if reference else None)
        by_id = {model.id: model for model in group}
        for event in self._worker_events(part, list(by_id)):
            kind = event["event"]
            if kind == "measurement":
                measurement = Measurement.from_json(event["measurement"])
                if measurement.id in by_id and measurement.id not in self.measured:
                    self.writer.append(measurement)
                    self.measured.add(measurement.id)
                    self.emit({**event, "resumed": False})
            elif kind == "failed" and event["id"] in by_id:
                self._fail(by_id[event["id"]], error_named(event["error"], event["message"]))
            elif kind == "error":
                raise error_named(event["error"], event["message"])
            elif kind in ("progress", "heartbeat"):
                self.emit(event)

    def _worker_events(self, part: Job, ids: list[str]) -> Iterator[dict[str, Any]]:
        """Start a worker and yield its events, and heartbeats between them.

        Raises:
            WorkerDiedError: The worker ended early, or reported nothing for `settings.stall_s`, or for longer than a model
                takes to load.
        """
        limit_s = part.settings.stall_s
        with _Worker(self.worker_command, part, ids) as worker:
            last_event = last_sign = time.monotonic()
            while True:
                try:
                    line = worker.lines.get(timeout=_POLL_S)
                except queue.Empty:
                    now = time.monotonic()
                    if now - last_event > limit_s:
                        raise WorkerDiedError(
                            f"a worker must report within {limit_s:g} s, but it hung while it measured "
                            f"{worker.described}; raise settings.stall_s or leave the model out."
                        ) from None
                    if now - last_sign >= HEARTBEAT_S:
                        last_sign = now
                        yield {"event": "heartbeat", "seconds": round(now - last_event, 1)}
                    continue
                if line is None:
                    raise worker.death()
                last_event = last_sign = time.monotonic()
                event = loads(line, "an event of the worker")
                if event["event"] == "end":
                    return
                is_loading = event.get("stage") == "load"
                limit_s = max(part.settings.stall_s, self.longest_load_s if is_loading else 0.0)
                yield event

    def _fail(self, model: ModelFile, error: ProfilerError) -> None:
        self.failed[model.id] = str(error)
        self.writer.append(Failure(model.id, model.sha256, self.target.key, str(error)))
        self.emit({"event": "failed", "id": model.id, "error": type(error).__name__, "message": str(error)})

    def _with_sha256(self) -> Iterator[ModelFile]:
        for model in self.job.models:
            try:
                yield checked_model(model)
            except ModelFileError as error:
                self.failed[model.id] = str(error)
                self.writer.append(Failure(model.id, None, self.target.key, str(error)))

    def _key_of(self, model: ModelFile) -> tuple[object, ...]:
        return (model.id, model.sha256, self.target, self.job.settings, self.job.affinity)


def checked_model(model: ModelFile) -> ModelFile:
    """Return the model with its full path and its SHA-256.

    Raises:
        ModelFileError: There is no such file, or its bytes are not those of the job.
    """
    path = Path(model.path).resolve()
    sha256 = file_sha256(path)
    if model.sha256 not in (None, sha256):
        raise ModelFileError(
            f"model {model.id!r} must have the SHA-256 {model.sha256}, but {str(path)!r} has {sha256}; copy the file again."
        )
    return replace(model, path=path, sha256=sha256)


class _Worker:
    """A worker process; leaving the block ends it."""

    def __init__(self, command: Sequence[str], part: Job, ids: list[str]) -> None:
        shown = ", ".join(repr(id) for id in ids[:3])
        self.described = shown if len(ids) <= 3 else f"{shown} and {len(ids) - 3} more"
        self.lines: queue.Queue[str | None] = queue.Queue()
        self._request = dumps({"job": part.to_json(), "measure": ids})
        self._command = list(command)

    def __enter__(self) -> _Worker:  # noqa: PYI034 - typing.Self came after Python 3.8
        self._messages = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            env=package_environment(),
            encoding="utf-8",
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=_read_lines, args=(self._process.stdout, self.lines), daemon=True)
        self._reader.start()
        # The pipe stays open: its end tells the worker that the agent is gone. If it is broken, the worker
        # died at once, and reading its events tells how.
        with suppress(BrokenPipeError):
            self._process.stdin.write(self._request + "\n")
            self._process.stdin.flush()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._messages.close()

    def death(self) -> WorkerDiedError:
        """Say how the worker ended, with the last line it wrote."""
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        self._messages.seek(0)
        last = self._messages.read().decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][:300]
        return WorkerDiedError(
            f"a worker must live until its models are measured, but it died ({how}) while it measured "
            f"{self.described}{': ' + last if last else ''}; leave the model out or try another "
            "version of the runtime."
        )


def _read_lines(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        if not line.endswith("\n"):
            break  # torn by a crash
        lines.put(line)
    lines.put(None)
