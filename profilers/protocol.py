"""How models are timed together: the sitting.

Time of a run = true time x (1 + drift) + spikes that only ever add. Three things answer that. Models take
turns in short rounds, so that drift meets all of them alike. The order is shuffled and then reversed, so
that no model always follows the same one. And a model is timed until the interval over its rounds is narrow
enough, or reported as unconverged; nothing is deleted and nothing accepted in silence.

Sources: 200 ms warm-up as in trtexec, the wall-time cap as in NVBench, alternating order as in paired
benchmark designs; rounds as the unit of statistics are our own design notes.
"""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from random import Random
from typing import Protocol

import numpy as np

from profilers.errors import ProfilerError
from profilers.measurement_warning import MeasurementWarning
from profilers.settings import Settings
from profilers.statistics import median_interval, round_quantiles, slow_share

_RANKING_QUANTILE = 0.25  # see Measurement
_REFERENCE_TOLERANCE = 0.05
_MAX_REDOS = 3
_SETTLED = 0.02  # warm-up ends when ten runs differ by less than this from the ten before
_MAX_SLOW_SHARE = 0.05
_MIN_RESOLUTIONS = 1000  # a sample lasts at least so many ticks of the clock


class Clock(Protocol):
    """Monotonic time."""

    def __call__(self) -> int:
        """Return ns since some fixed moment."""


class Runnable(Protocol):
    """What can be timed."""

    def run(self) -> object:
        """Run once on inputs made before, and return when the result is there."""


@dataclass(frozen=True)
class Timing:
    """What a sitting finds out about one model."""

    id: str
    rounds: tuple[tuple[int, ...], ...]  # ns of one run
    runs_per_sample: int
    num_warmup: int
    converged: bool
    warnings: tuple[MeasurementWarning, ...]


@dataclass(eq=False)
class _Candidate:
    """One model while its sitting goes on."""

    id: str
    run: Callable[[], object]
    num_warmup: int = 0
    runs_per_sample: int = 1
    spent_ns: int = 0
    rounds: list[tuple[int, ...]] = field(default_factory=list)
    num_checked: int = 0  # rounds before this one are confirmed by the reference
    num_redone: int = 0
    num_doubtful: int = 0  # rounds kept although the reference had moved
    reference_shift: float = 0.0
    warnings: list[MeasurementWarning] = field(default_factory=list)

    def interval(self) -> tuple[float, float]:
        """Return half-width and middle of the interval of the ranking quantile, in ns."""
        values = round_quantiles(self.rounds, _RANKING_QUANTILE)
        low, high = median_interval(values)
        return (high - low) / 2, float(np.median(values))

    def converged(self, settings: Settings) -> bool:
        if len(self.rounds) < settings.min_rounds:
            return False
        half_width, middle = self.interval()
        return half_width <= settings.half_width * middle

    def capped(self, settings: Settings) -> bool:
        # Two rounds at least, so that even a very slow model shows how far it repeats.
        return self.spent_ns >= settings.cap_s * 1e9 and len(self.rounds) >= 2


def measure_sitting(
    sessions: Mapping[str, Runnable],
    settings: Settings,
    *,
    clock: Clock,
    rng: Random,
    reference: Runnable | None = None,
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
        on_timing: Called for each model as soon as it is done.
        on_failed: Called for a model whose run raised; the others go on.
        on_progress: Called with id and stage ("warm_up", "round") before each stage.

    Returns:
        Timings in the order of `sessions`, without the failed ones.
    """
    sitting = _Sitting(settings, clock, on_failed, on_progress)
    active = sitting.warm_up_all(sessions)
    watch = None
    if reference is not None and active:
        # A reference that cannot run watches nothing; as a model it is reported when its turn comes.
        silent = _Sitting(settings, clock, lambda id, error: None, lambda id, stage: None)
        watch = _ReferenceWatch(silent, reference)
    timings: dict[str, Timing] = {}
    order: list[_Candidate] = []
    num_passes = 0
    while active:
        order = [c for c in reversed(order) if c in active] if num_passes % 2 else rng.sample(active, len(active))
        num_passes += 1
        for candidate in order:
            if not sitting.add_round(candidate):
                active.remove(candidate)
        leaving = [c for c in active if c.converged(settings) or c.capped(settings)]
        is_check_due = bool(leaving) or num_passes % settings.reference_every == 0
        if watch is not None and is_check_due and not watch.rounds_stand(active):
            continue
        for candidate in leaving:
            active.remove(candidate)
            timings[candidate.id] = _timing(candidate, settings)
            on_timing(timings[candidate.id])
    return [timings[id] for id in sessions if id in timings]


class _Sitting:
    """The steps that touch sessions; a failing session leaves, the sitting goes on."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        on_failed: Callable[[str, ProfilerError], None],
        on_progress: Callable[[str, str], None],
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.on_failed = on_failed
        self.on_progress = on_progress
        self.resolution_ns = clock_resolution_ns(clock)

    def warm_up_all(self, sessions: Mapping[str, Runnable]) -> list[_Candidate]:
        candidates = [_Candidate(id, session.run) for id, session in sessions.items()]
        return [candidate for candidate in candidates if self.warm_up(candidate)]

    def warm_up(self, candidate: _Candidate) -> bool:
        """Run until times stand still; False if the session failed."""
        self.on_progress(candidate.id, "warm_up")
        try:
            durations, settled = _warm_up(candidate.run, self.settings, self.clock)
        except ProfilerError as error:
            self.on_failed(candidate.id, error)
            return False
        candidate.num_warmup = len(durations)
        typical = max(1.0, statistics.median(durations[-10:]))
        candidate.runs_per_sample = max(1, math.ceil(_MIN_RESOLUTIONS * self.resolution_ns / typical))
        if not settled:
            candidate.warnings.append(
                MeasurementWarning(
                    "unsettled_warm_up",
                    f"run times still moved after {len(durations)} runs of warm-up; use a longer warm-up or fix the clock",
                )
            )
        if candidate.runs_per_sample > 1:
            candidate.warnings.append(
                MeasurementWarning(
                    "timer_resolution",
                    f"a run lasts less than {_MIN_RESOLUTIONS} ticks of the clock "
                    f"({self.resolution_ns} ns), so {candidate.runs_per_sample} runs are timed together; "
                    "percentiles are of their means",
                )
            )
        return True

    def add_round(self, candidate: _Candidate) -> bool:
        """Time one more round; False if the session failed."""
        self.on_progress(candidate.id, "round")
        try:
            samples = _time_round(candidate.run, self.settings, self.clock, candidate.runs_per_sample)
        except ProfilerError as error:
            self.on_failed(candidate.id, error)
            return False
        candidate.rounds.append(samples)
        candidate.spent_ns += sum(samples) * candidate.runs_per_sample
        return True


class _ReferenceWatch:
    """Times a fixed model between rounds: when it changes speed, the device did."""

    def __init__(self, sitting: _Sitting, reference: Runnable) -> None:
        self._sitting = sitting
        self._reference = _Candidate("reference", reference.run)
        self._num_redos = 0
        self._shift = 0.0
        self._works = sitting.warm_up(self._reference)
        self._usual_ns = [value for value in (self._time_ns(),) if value is not None]

    def rounds_stand(self, active: list[_Candidate]) -> bool:
        """Check the rounds since the last check; False when they were dropped and must be taken again."""
        # When it moved it is timed once more, since one disturbed round is no change of speed.
        if not self._moved() or not self._moved():
            for candidate in active:
                candidate.num_checked = len(candidate.rounds)
            return True
        self._num_redos += 1
        drop = self._num_redos <= _MAX_REDOS
        for candidate in active:
            num_unchecked = len(candidate.rounds) - candidate.num_checked
            if drop:
                del candidate.rounds[candidate.num_checked :]
                candidate.num_redone += num_unchecked
            else:
                candidate.num_checked = len(candidate.rounds)
                candidate.num_doubtful += num_unchecked
                candidate.reference_shift = self._shift
        return not drop

    def _moved(self) -> bool:
        now = self._time_ns()
        if now is None or not self._usual_ns:
            return False
        self._shift = now / statistics.median(self._usual_ns) - 1
        if abs(self._shift) > _REFERENCE_TOLERANCE:
            return True
        self._usual_ns.append(now)
        return False

    def _time_ns(self) -> float | None:
        if not self._works or not self._sitting.add_round(self._reference):
            self._works = False
            return None
        return float(round_quantiles(self._reference.rounds[-1:], _RANKING_QUANTILE)[0])


def _timing(candidate: _Candidate, settings: Settings) -> Timing:
    return Timing(
        id=candidate.id,
        rounds=tuple(candidate.rounds),
        runs_per_sample=candidate.runs_per_sample,
        num_warmup=candidate.num_warmup,
        converged=candidate.converged(settings),
        warnings=(*candidate.warnings, *_warnings_at_end(candidate, settings)),
    )


def _warnings_at_end(candidate: _Candidate, settings: Settings) -> Iterator[MeasurementWarning]:
    if not candidate.converged(settings):
        half_width, middle = candidate.interval()
        yield MeasurementWarning(
            "unconverged",
            f"after {len(candidate.rounds)} rounds in {settings.cap_s:g} s the interval is "
            f"+-{half_width / middle:.1%}, not +-{settings.half_width:.1%}; "
            "measure longer or on a quieter device",
        )
    share = slow_share(candidate.rounds)
    if share > _MAX_SLOW_SHARE:
        yield MeasurementWarning("slow_runs", f"{share:.1%} of the runs are slow; stop other work on the device")
    if candidate.num_redone:
        yield MeasurementWarning(
            "reference_moved",
            f"{candidate.num_redone} round(s) were taken again because the device changed speed",
        )
    if candidate.num_doubtful:
        yield MeasurementWarning(
            "reference_moved",
            f"{candidate.num_doubtful} round(s) were taken while the reference model ran "
            f"{candidate.reference_shift:+.0%} off its usual time; fix the clock or let the device cool",
        )


def _warm_up(run: Callable[[], object], settings: Settings, clock: Clock) -> tuple[list[int], bool]:
    """Run until times stand still, or to the cap; return durations in ns and whether they stand still."""
    durations: list[int] = []
    started = clock()
    while True:
        before = clock()
        run()
        after = clock()
        durations.append(after - before)
        elapsed = after - started
        if elapsed >= settings.warm_up_ms * 1e6 and len(durations) % 10 == 0 and _is_settled(durations):
            return durations, True
        if elapsed >= settings.warm_up_cap_s * 1e9:
            return durations, False


def _is_settled(durations: list[int]) -> bool:
    if len(durations) < 20:
        return False
    before, last = statistics.median(durations[-20:-10]), statistics.median(durations[-10:])
    return abs(last - before) <= _SETTLED * before


def _time_round(run: Callable[[], object], settings: Settings, clock: Clock, runs_per_sample: int) -> tuple[int, ...]:
    """Time runs back to back, since clocks fall in a pause; return ns of one run for each sample."""
    for _ in range(settings.rewarm_runs):
        run()
    samples: list[int] = []
    spent, enough = 0, settings.round_ms * 1e6
    with _no_garbage_collection():
        while spent < enough or len(samples) < settings.min_runs:
            before = clock()
            for _ in repeat(None, runs_per_sample):
                run()
            duration = clock() - before
            spent += max(1, duration)
            samples.append(max(1, duration // runs_per_sample))
    return tuple(samples)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def clock_resolution_ns(clock: Clock) -> int:
    """Smallest step seen between readings in a row, at least 1 ns; a reading's own cost counts as a step."""
    readings = [clock() for _ in range(200)]
    steps = [after - before for before, after in zip(readings, readings[1:]) if after > before]
    return min(steps, default=1)
