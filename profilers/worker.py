"""The process that loads and times one group of models, and may crash without harm to the rest.

It reads a line of JSON from standard input, {"job": ..., "measure": [ids]}, writes events as lines of JSON to
standard output, and ends at once when standard input closes: nothing measures on for an agent that is gone.

Events: {"event": "progress", "id", "stage"}, {"event": "measurement", "measurement"},
{"event": "failed", "id", "error", "message"}, {"event": "end"}.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

from profilers.conditions import ConditionRecorder, condition_warnings, sampler_of, share_paused
from profilers.device_facts import CpuTimes, steal_share, warnings_of
from profilers.errors import JobError, ProfilerError, TransportError
from profilers.job import Job
from profilers.measurement import Measurement
from profilers.protocol import Timing, measure_sitting
from profilers.runtimes import open_runtime
from profilers.runtimes.base import OnAnotherDevice, facts_for, timing_mode_of
from profilers.sitting import Sitting
from profilers.strict_json import checked_object, dumps, loads

if TYPE_CHECKING:
    from profilers.runtimes.base import Runtime, Session

    Emit = Callable[[dict[str, Any]], None]

_REQUEST = "the request on standard input"
_ROUND_EVENTS_EVERY_S = 0.5  # a pipe write between rounds is cheap, but not free


def main(runtime_named: Callable[[str], Runtime] = open_runtime) -> int:
    """Serve one job on the standard streams; the argument lets tests bring a runtime of their own."""
    # Native libraries print to descriptor 1, so the events get a descriptor of their own.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    line = sys.stdin.readline()
    threading.Thread(target=_exit_with_agent, daemon=True).start()

    def emit(event: dict[str, Any]) -> None:
        events.write(dumps(event) + "\n")
        events.flush()

    try:
        request = checked_object(loads(line, _REQUEST), {"job": (dict,), "measure": (list,)}, _REQUEST)
        job = Job.from_json(request["job"])
        measure_group(job, request["measure"], runtime_named(job.runtime), emit)
    except ProfilerError as error:
        emit({"event": "error", "error": type(error).__name__, "message": str(error)})
        return 1
    emit({"event": "end"})
    return 0


def measure_group(job: Job, ids: Sequence[str], runtime: Runtime, emit: Emit) -> None:
    """Load all models of the job, time some in one sitting, and emit each measurement when it is done.

    Args:
        job: Its models carry their SHA-256.
        ids: The models to measure; only the reference may be missing, when it was measured before.
        runtime: Loads the models.
        emit: Takes the events.

    Raises:
        JobError: The CPUs of the job are not there.
        RuntimeNotInstalledError: The runtime is not on this device.
        TransportError: The runtime drives another device, which is gone.
    """
    elsewhere = runtime if isinstance(runtime, OnAnotherDevice) else None
    (_bind if elsewhere is None else elsewhere.bind)(job.affinity)
    runtime.check_available()  # some packages take seconds to import, which is no part of loading a model
    facts = facts_for(runtime)
    target = job.target_on(facts.device, runtime.version(), facts.target_power_mode, timing_mode_of(runtime))
    sha256 = {model.id: model.sha256 for model in job.models}
    load_ms: dict[str, float] = {}

    def failed(id: str, error: ProfilerError) -> None:
        emit({"event": "failed", "id": id, "error": type(error).__name__, "message": str(error)})

    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        for model in job.models:
            emit({"event": "progress", "id": model.id, "stage": "load"})
            started = time.perf_counter_ns()
            try:
                session = runtime.load(
                    model.path,
                    threads=job.threads,
                    precision=job.precision,
                    batch_size=job.batch_size,
                    seed=job.seed,
                    # Untrained weights produce denormals, which some CPUs compute a hundred times slower.
                    flush_denormals=True,
                )
            except TransportError:
                raise
            except ProfilerError as error:
                failed(model.id, error)
                continue
            load_ms[model.id] = (time.perf_counter_ns() - started) / 1e6
            sessions[model.id] = stack.enter_context(session)
        before = CpuTimes.read() if elsewhere is None else None
        sitting_id = uuid.uuid4().hex
        recorder = ConditionRecorder(sampler_of(runtime))

        def finished(timing: Timing) -> None:
            stolen = replace(facts, steal_share=steal_share(before, CpuTimes.read()))
            conditions = recorder.samples()
            measurement = Measurement(
                id=timing.id,
                model_sha256=sha256[timing.id] or "",
                target=target,
                settings=job.settings,
                affinity=job.affinity,
                rounds=timing.rounds,
                runs_per_sample=timing.runs_per_sample,
                num_warmup=timing.num_warmup,
                load_ms=load_ms[timing.id],
                converged=timing.converged,
                warnings=(
                    *timing.warnings,
                    *warnings_of(stolen, share_paused=share_paused(conditions)),
                    *condition_warnings(conditions, facts.num_cores),
                ),
                facts=stolen,
                sitting=Sitting(
                    id=sitting_id,
                    passes=timing.passes,
                    starts_ms=tuple(start_ns // 1_000_000 for start_ns in timing.starts_ns),
                    reference_ms=timing.reference_ms,
                    conditions=conditions,
                    parts=timing.parts,
                ),
            )
            emit({"event": "measurement", "measurement": measurement.to_json()})

        measure_sitting(
            {id: session for id, session in sessions.items() if id in ids},
            job.settings,
            clock=runtime.clock,
            rng=Random(job.seed),
            reference=sessions.get(job.reference) if job.reference is not None else None,
            together=job.together,
            observe=recorder.observe,
            on_timing=finished,
            on_failed=failed,
            on_progress=_Progress(emit),
        )


class _Progress:
    """Reports every load and warm-up, and now and then a round or a wait."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._last_s = 0.0

    def __call__(self, id: str, stage: str) -> None:
        now = time.monotonic()
        if stage in ("round", "wait") and now - self._last_s < _ROUND_EVENTS_EVERY_S:
            return
        self._last_s = now
        self._emit({"event": "progress", "id": id, "stage": stage})


def _bind(affinity: tuple[int, ...] | None) -> None:
    """Bind this process to the CPUs, before the runtime starts its threads."""
    if affinity is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise JobError("job.affinity needs a system that can bind processes to CPUs, which this is not; leave it out.")
    try:
        os.sched_setaffinity(0, affinity)
    except OSError as error:
        allowed = sorted(os.sched_getaffinity(0))
        raise JobError(
            f"job.affinity must name CPUs of this device ({allowed}), but {list(affinity)} came; correct it."
        ) from error


def _exit_with_agent() -> None:
    while sys.stdin.readline():
        pass
    os._exit(3)
