"""One model while it is timed: warm-up, rounds, and when it has been timed enough."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from typing import Protocol, runtime_checkable

from profilers.errors import ProfilerError, TransportError
from profilers.measurement_warning import MeasurementWarning
from profilers.settings import Settings
from profilers.statistics import SEQUENTIAL_CONFIDENCE, median_interval, quantile_of

RANKING_QUANTILE = 0.25  # see Measurement
_SETTLED = 0.02  # warm-up ends when ten runs differ by less than this from the ten before
_MIN_RESOLUTIONS = 1000  # a sample lasts at least so many ticks of the clock
_REWARM_CALL_MS = 100.0  # between calls the model was thrown away and the clock fell


class Clock(Protocol):
    """Monotonic time."""

    def __call__(self) -> int:
        """Return ns since some fixed moment."""


class Runnable(Protocol):
    """What can be timed."""

    def run(self) -> object:
        """Run once on inputs made before, and return when the result is there."""


@runtime_checkable
class RunsInCalls(Protocol):
    """What no clock of this machine reaches: a program elsewhere makes many runs at a call, and tells how long they took."""

    def run_many(self, count: int, *, warm_up_ms: float) -> tuple[int, ...]:
        """Warm up for about so long, run so many times, and return ns of each run, or one figure for a run of all of them."""


@runtime_checkable
class HasParts(Protocol):
    """What can be timed and knows more of a run than how long its caller waited."""

    def take_parts(self) -> Mapping[str, tuple[int, ...]]:
        """Return name -> ns of each run since the last call, oldest first and not always of all, and begin anew."""


@dataclass(frozen=True)
class Round:
    """Runs of one model, back to back."""

    samples: tuple[int, ...]  # ns of one run
    pass_number: int  # rounds of one pass over the models share it
    start_ns: int
    spent_ns: int
    figure_ns: float  # the ranking quantile
    parts_ns: Mapping[str, int]  # medians of the parts of a run, where the session tells them


@dataclass(eq=False)
class Candidate:
    """One model while its sitting goes on."""

    id: str
    session: Runnable
    num_warmup: int = 0
    runs_per_sample: int = 1
    runs_per_call: int = 0  # of a session that runs in calls; a call is a round
    rounds: list[Round] = field(default_factory=list)
    warnings: list[MeasurementWarning] = field(default_factory=list)
    # What the reference told about the rounds, see `profilers.reference`.
    num_confirmed: int = 0  # the first rounds, that is
    num_redone: int = 0
    num_doubtful: int = 0
    shift: float = 0.0  # of the reference, when doubtful rounds were taken
    settled_shift: float = 0.0  # of the state of the device that all rounds are of, when it changed for good
    is_over: bool = False  # no more rounds, since the device is not what it was
    reference_ms: float | None = None  # what the reference took meanwhile, where it takes another time now

    def interval(self) -> tuple[float, float]:
        """Half-width and middle of the interval of the ranking quantile, in ns."""
        figures = [round.figure_ns for round in self.rounds]
        low, high = median_interval(figures, SEQUENTIAL_CONFIDENCE)
        return (high - low) / 2, statistics.median(figures)

    def has_converged(self, settings: Settings) -> bool:
        if len(self.rounds) < settings.min_rounds:
            return False
        half_width, middle = self.interval()
        return half_width <= settings.half_width * middle

    def is_done(self, settings: Settings) -> bool:
        """Converged, or at the cap; two rounds at least, so that even a very slow model shows how far it repeats."""
        spent_ns = sum(round.spent_ns for round in self.rounds)
        return self.is_over or self.has_converged(settings) or (spent_ns >= settings.cap_s * 1e9 and len(self.rounds) >= 2)


class Stopwatch:
    """The steps that touch sessions; a failing session is reported, and the sitting goes on without it."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        observe: Callable[[], None] = lambda: None,
        on_failed: Callable[[str, ProfilerError], None] = lambda id, error: None,
        on_progress: Callable[[str, str], None] = lambda id, stage: None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._observe = observe
        self._on_failed = on_failed
        self.on_progress = on_progress
        self._resolution_ns = clock_resolution_ns(clock)

    def warm_up(self, candidate: Candidate) -> bool:
        """Run until times stand still; False if the session failed."""
        self.on_progress(candidate.id, "warm_up")
        with self._reporting(candidate) as step:
            if isinstance(candidate.session, RunsInCalls):
                self._warm_up_in_calls(candidate, candidate.session)
            else:
                self._warm_up_in_runs(candidate)
        return step.is_done

    def _warm_up_in_runs(self, candidate: Candidate) -> None:
        durations, is_settled = _warm_up(candidate.session.run, self.settings, self.clock)
        candidate.num_warmup = len(durations)
        typical = max(1.0, statistics.median(durations[-10:]))
        candidate.runs_per_sample = max(1, math.ceil(_MIN_RESOLUTIONS * self._resolution_ns / typical))
        if not is_settled:
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
                    f"({self._resolution_ns} ns), so {candidate.runs_per_sample} runs are timed together; "
                    "percentiles are of their means",
                )
            )

    def _warm_up_in_calls(self, candidate: Candidate, session: RunsInCalls) -> None:
        settings = self.settings
        durations = session.run_many(settings.min_runs, warm_up_ms=settings.warm_up_ms)
        candidate.num_warmup = settings.min_runs
        candidate.runs_per_call = max(settings.min_runs, math.ceil(settings.round_ms * 1e6 / statistics.median(durations)))
        if len(durations) < settings.min_runs:
            candidate.runs_per_sample = candidate.runs_per_call
            candidate.warnings.append(
                MeasurementWarning(
                    "aggregated",
                    f"the program on the device tells one figure for {candidate.runs_per_call} runs, so that percentiles "
                    "and the share of slow runs are those of such figures",
                )
            )

    def add_round(self, candidate: Candidate, pass_number: int) -> bool:
        """Time one more round; False if the session failed."""
        self.on_progress(candidate.id, "round")
        self._observe()
        start_ns = self.clock()
        with self._reporting(candidate) as step:
            _take_parts(candidate.session)  # of runs that belong to no round
            if isinstance(candidate.session, RunsInCalls):
                samples = candidate.session.run_many(candidate.runs_per_call, warm_up_ms=_REWARM_CALL_MS)
            else:
                samples = _time_round(candidate.session.run, self.settings, self.clock, candidate.runs_per_sample)
            parts = _take_parts(candidate.session)
        if not step.is_done:
            return False
        spent_ns = sum(samples) * candidate.runs_per_sample
        candidate.rounds.append(
            Round(
                samples,
                pass_number,
                start_ns,
                spent_ns,
                figure_ns=quantile_of(samples, RANKING_QUANTILE),
                parts_ns={
                    name: round(statistics.median(times[self.settings.rewarm_runs :] or times))
                    for name, times in parts.items()
                    if times
                },
            )
        )
        return True

    @contextmanager
    def _reporting(self, candidate: Candidate) -> Iterator[_Step]:
        """Report what a session fails with; a device that is gone is no failure of a session."""
        step = _Step()
        try:
            yield step
            step.is_done = True
        except TransportError:
            raise
        except ProfilerError as error:
            self._on_failed(candidate.id, error)


@dataclass
class _Step:
    """Something that is done with a session."""

    is_done: bool = False


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


def _take_parts(session: Runnable) -> Mapping[str, tuple[int, ...]]:
    return session.take_parts() if isinstance(session, HasParts) else {}


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
