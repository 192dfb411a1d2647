"""How models are timed together: the sitting.

Time of a run = true time x (1 + drift) + spikes that only ever add. Three things answer that. Models take
turns in short rounds, so that drift meets all of them alike. The order is shuffled and then reversed, so
that no model always follows the same one. And a model is timed until the interval over its rounds is narrow
enough, or reported as unconverged; nothing is deleted and nothing accepted in silence. A fixed reference
model shows when the device changes speed; rounds of another speed are taken again (`profilers.reference`).

Sources: 200 ms warm-up as in trtexec, the wall-time cap as in NVBench, alternating order as in paired
benchmark designs; rounds as the unit of statistics are our own design notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from profilers.errors import ProfilerError
from profilers.measurement_warning import MeasurementWarning
from profilers.reference import ReferenceWatch
from profilers.rounds import Candidate, Clock, Runnable, Stopwatch
from profilers.settings import Settings
from profilers.sitting import Part
from profilers.statistics import slow_share, uneven_share

_MAX_SLOW_SHARE = 0.05
_MAX_UNEVEN_SHARE = 0.1


@dataclass(frozen=True)
class Timing:
    """What a sitting finds out about one model."""

    id: str
    rounds: tuple[tuple[int, ...], ...]  # ns of one run
    passes: tuple[int, ...]  # of each round; rounds of two models with the same number were taken in turn
    starts_ns: tuple[int, ...]  # of each round, since the sitting began
    runs_per_sample: int
    num_warmup: int
    converged: bool
    reference_ms: float | None
    parts: tuple[Part, ...]
    warnings: tuple[MeasurementWarning, ...]


def measure_sitting(
    sessions: Mapping[str, Runnable],
    settings: Settings,
    *,
    clock: Clock,
    rng: Random,
    reference: Runnable | None = None,
    together: bool = False,
    observe: Callable[[], None] = lambda: None,
    on_timing: Callable[[Timing], None] = lambda timing: None,
    on_failed: Callable[[str, ProfilerError], None] = lambda id, error: None,
    on_progress: Callable[[str, str], None] = lambda id, stage: None,
) -> list[Timing]:
    """Time models together, taking turns.

    Args:
        sessions: Model id -> what to run.
        settings: Numbers of the protocol.
        clock: Monotonic time in ns; must move when sessions run.
        rng: Gives the order of rounds.
        reference: Timed between rounds; rounds are taken again when it changed speed by more than 5 %.
        together: All models take rounds until the last one is done, so that any two can be compared round by round.
        observe: Called between rounds, outside of what is timed.
        on_timing: Called for each model as soon as it is done.
        on_failed: Called for a model whose run raised; the others go on.
        on_progress: Called with id and stage ("warm_up", "round", "wait") before each stage.

    Returns:
        Timings in the order of `sessions`, without the failed ones.
    """
    start_ns = clock()
    stopwatch = Stopwatch(settings, clock, observe=observe, on_failed=on_failed, on_progress=on_progress)
    candidates = [Candidate(id, session) for id, session in sessions.items()]
    active = [candidate for candidate in candidates if stopwatch.warm_up(candidate)]
    watch = None
    if reference is not None and active:
        # A reference that cannot run watches nothing; as a model it is reported when its turn comes.
        silent = Stopwatch(settings, clock, on_progress=lambda id, stage: on_progress(id, stage) if stage == "wait" else None)
        watch = ReferenceWatch(silent, reference, every=settings.reference_every)
    timings: dict[str, Timing] = {}
    order: list[Candidate] = []
    num_passes = 0
    while active:
        order = [c for c in reversed(order) if c in active] if num_passes % 2 else rng.sample(active, len(active))
        for candidate in order:
            if not stopwatch.add_round(candidate, num_passes):
                active.remove(candidate)
        num_passes += 1
        leaving = _leaving(active, settings, together=together)
        if watch is not None and watch.is_due(len(order), is_anyone_leaving=bool(leaving)) and not watch.rounds_stand(active):
            leaving = [candidate for candidate in active if candidate.is_over]
        for candidate in leaving:
            active.remove(candidate)
            reference_ms = candidate.reference_ms or (watch.usual_ms if watch is not None else None)
            timings[candidate.id] = _timing(candidate, settings, start_ns, reference_ms)
            on_timing(timings[candidate.id])
    return [timings[id] for id in sessions if id in timings]


def _leaving(active: list[Candidate], settings: Settings, *, together: bool) -> list[Candidate]:
    done = [candidate for candidate in active if candidate.is_done(settings)]
    return [] if together and len(done) < len(active) else done


def _timing(candidate: Candidate, settings: Settings, start_ns: int, reference_ms: float | None) -> Timing:
    return Timing(
        id=candidate.id,
        rounds=tuple(round.samples for round in candidate.rounds),
        passes=tuple(round.pass_number for round in candidate.rounds),
        starts_ns=tuple(round.start_ns - start_ns for round in candidate.rounds),
        runs_per_sample=candidate.runs_per_sample,
        num_warmup=candidate.num_warmup,
        converged=candidate.has_converged(settings),
        reference_ms=reference_ms,
        parts=_parts(candidate),
        warnings=(*candidate.warnings, *_warnings_at_end(candidate, settings)),
    )


def _parts(candidate: Candidate) -> tuple[Part, ...]:
    rounds = [round.parts_ns for round in candidate.rounds]
    return tuple(
        Part(name, tuple(parts[name] for parts in rounds)) for name in rounds[0] if all(name in parts for parts in rounds)
    )


def _warnings_at_end(candidate: Candidate, settings: Settings) -> Iterator[MeasurementWarning]:
    if not candidate.has_converged(settings):
        half_width, middle = candidate.interval()
        yield MeasurementWarning(
            "unconverged",
            f"after {len(candidate.rounds)} rounds the interval is +-{half_width / middle:.1%}, not "
            f"+-{settings.half_width:.1%}; measure longer or on a quieter device",
        )
    share = slow_share([round.samples for round in candidate.rounds])
    if share > _MAX_SLOW_SHARE:
        yield MeasurementWarning("slow_runs", f"{share:.1%} of the runs are slow; stop other work on the device")
    share = uneven_share([round.figure_ns for round in candidate.rounds])
    if share > _MAX_UNEVEN_SHARE:
        yield MeasurementWarning(
            "uneven_rounds",
            f"{share:.0%} of the rounds are more than 5 % off the others, so the device has more than one speed; compare "
            "models within one sitting, or measure on a quieter device",
        )
    if candidate.num_redone:
        yield MeasurementWarning(
            "reference_moved",
            f"{candidate.num_redone} round(s) were taken again because the device changed speed",
        )
    if candidate.settled_shift:
        yield MeasurementWarning(
            "reference_moved",
            f"the reference model ran {candidate.settled_shift:+.0%} off its first time and stayed so, and all rounds "
            "are of that state; fix the clock or let the device cool, and measure again to know the other state",
        )
    if candidate.num_doubtful:
        yield MeasurementWarning(
            "reference_moved",
            f"{candidate.num_doubtful} round(s) were taken while the reference model ran "
            f"{candidate.shift:+.0%} off its usual time; fix the clock or let the device cool",
        )
