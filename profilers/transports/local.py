"""This machine: the agent runs as a process of its own."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from profilers.agent import HEARTBEAT_S
from profilers.device_facts import DeviceFacts
from profilers.engine_build import EngineBuild, EngineRequest, build_arguments, load_arrays, save_arrays
from profilers.errors import ProfilerError, TransportError, WorkerDiedError, error_named
from profilers.job import Job, save_job
from profilers.measurement import Measurement
from profilers.noise import Noise
from profilers.package import package_environment
from profilers.runtimes.tensorrt.builder import BUILD_S
from profilers.runtimes.tensorrt.engine_record import EngineRecord
from profilers.strict_json import loads
from profilers.target import Target
from profilers.transports.agent_commands import FACTS_S, NOISE_S, facts_command, facts_of, noise_command, noise_of

if TYPE_CHECKING:
    from profilers.runtimes.base import Array

_SILENCE_S = 12 * HEARTBEAT_S  # an agent that does not even say that it waits is dead


class LocalTransport:
    """Runs `python -m profilers` here, in its own process group, so that nothing is left behind."""

    def __init__(
        self, python: str | None = None, *, allow_power_mode: bool = False, agent: Sequence[str] = ("-m", "profilers")
    ) -> None:
        """Use another interpreter, or (in tests) another agent."""
        self._command = [python or sys.executable, *agent]
        self._flags = ["--allow-power-mode"] if allow_power_mode else []

    def facts(
        self,
        runtime: str = "onnxruntime",
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        power_mode: str = "default",
    ) -> tuple[DeviceFacts, Target]:
        arguments = [*facts_command(runtime, threads, precision, batch_size, power_mode), *self._flags]
        return facts_of(list(self._events(arguments, timeout_s=FACTS_S)))

    def noise(self, *, seconds: float) -> Noise:
        timeout_s = seconds + NOISE_S
        return noise_of(list(self._events(noise_command(seconds), timeout_s=timeout_s, silence_s=timeout_s)))

    def run_job(
        self,
        job: Job,
        results_path: Path,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        timeout_s: float | None = None,
    ) -> list[Measurement]:
        measured: dict[str, Measurement] = {}
        with tempfile.TemporaryDirectory(prefix="profilers-") as folder:
            path = Path(folder) / "job.json"
            # Relative model paths count from here, not from the folder of the job file.
            models = [type(model)(model.id, Path(model.path).resolve(), model.sha256) for model in job.models]
            save_job(job.with_models(models, reference=job.reference), path)
            arguments = ["measure", str(path), "--results", str(Path(results_path).resolve()), *self._flags]
            for event in self._events(arguments, timeout_s=timeout_s):
                if event.get("event") == "measurement":
                    measurement = Measurement.from_json(event["measurement"])
                    measured[measurement.id] = measurement
                if on_event is not None:
                    on_event(event)
        return [measured[model.id] for model in job.models if model.id in measured]

    def check_builds(self, runtime: str) -> None:
        list(self._events(["build", "--runtime", runtime], timeout_s=FACTS_S))

    def build_engine(
        self,
        request: EngineRequest,
        model: Path,
        engine: Path,
        *,
        inputs: Mapping[str, Array] | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        timeout_s: float | None = BUILD_S,
    ) -> EngineBuild:
        with tempfile.TemporaryDirectory(prefix="profilers-") as folder:
            given, answered = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
            if inputs is not None:
                save_arrays(given, inputs)
            paths = (str(Path(model).resolve()), str(Path(engine).resolve()))
            files = (None, None) if inputs is None else (str(given), str(answered))
            record = None
            for event in self._events(build_arguments(request, *paths, *files), timeout_s=timeout_s):
                if event.get("event") == "built":
                    record = EngineRecord.from_json(event["engine"])
                if on_event is not None:
                    on_event(event)
            if record is None:
                raise TransportError("the agent must tell what it built, but something else came; copy 'profilers' again.")
            return EngineBuild(record, load_arrays(answered) if answered.exists() else None)

    def _events(
        self, arguments: list[str], *, timeout_s: float | None, silence_s: float = _SILENCE_S
    ) -> Iterator[dict[str, Any]]:
        """Start the agent and yield what it prints; raise its error as the class it was."""
        with tempfile.TemporaryFile() as messages:
            process = self._start(arguments, messages)
            try:
                yield from _listen(process, timeout_s, silence_s)
                if process.wait() != 0:
                    raise _death(process.returncode, messages)
            finally:
                _end(process)

    def _start(self, arguments: list[str], messages: IO[bytes]) -> subprocess.Popen[str]:
        command = [*self._command, *arguments]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=messages,
                env=package_environment(),
                encoding="utf-8",
                start_new_session=True,
            )
        except OSError as error:
            raise TransportError(
                f"the agent needs a Python that can be started, but {command[0]!r} cannot "
                f"({error.strerror}); correct 'python' in the description of the device."
            ) from error


def _listen(process: subprocess.Popen[str], timeout_s: float | None, silence_s: float) -> Iterator[dict[str, Any]]:
    lines: queue.Queue[str | None] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
    deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left = deadline - time.monotonic()
        try:
            line = lines.get(timeout=max(0.0, min(silence_s, left)))
        except queue.Empty:
            waited = f"{silence_s:g} s without a word" if left > silence_s else f"{timeout_s:g} s"
            raise WorkerDiedError(
                f"the agent must be done in time, but it was not after {waited}; "
                "finished measurements are kept, run the job again to go on."
            ) from None
        if line is None:
            return
        event = loads(line, "an event of the agent")
        if not isinstance(event, dict):
            raise TransportError("the agent must answer in JSON objects, but something else came; copy 'profilers' again.")
        if event.get("event") == "error":
            raise error_named(str(event.get("error")), str(event.get("message")))
        yield event


def _read_lines(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _death(code: int, messages: IO[bytes]) -> ProfilerError:
    how = f"signal {-code}" if code < 0 else f"exit status {code}"
    messages.seek(0)
    last = messages.read().decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][:300]
    return WorkerDiedError(
        f"the agent must live until the job is done, but it died ({how}){': ' + last if last else ''}; "
        "finished measurements are kept, run the job again to go on."
    )


def _end(process: subprocess.Popen[str]) -> None:
    """Kill the agent with its workers; a process group that is gone already is fine."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
