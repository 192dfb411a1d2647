"""The reference: a fixed model that is timed between rounds, and shows when the device changes speed.

Shared machines have two speeds or more: a neighbour takes the other half of the core, a budget of power is
used up, the device grows hot. Some seconds at the slower speed are a disturbance, and rounds taken meanwhile
are taken again; a speed that stays is the speed of the device now, and all rounds are taken at it. Models
suffer unequally (15 % one, 30 % another on the same machine), so dividing by the reference would not do.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from profilers.rounds import Candidate, Runnable, Stopwatch

_TOLERANCE = 0.05
# Time given to waiting and to rounds that are dropped: half of the sitting, but at least and at most so much.
_MIN_PATIENCE_NS, _MAX_PATIENCE_NS = 2e9, 30e9
_MAX_SETTLINGS = 3  # a device that changes its speed for good more often has none; its rounds are kept and called doubtful


class ReferenceWatch:
    """Looks at the reference between passes and keeps or drops the rounds since it looked last."""

    def __init__(self, stopwatch: Stopwatch, reference: Runnable, *, every: int) -> None:
        """Warm the reference up and look once.

        Args:
            stopwatch: Times it; tells nobody when it fails.
            reference: What is timed.
            every: Rounds of models after which it is looked at.
        """
        self._stopwatch = stopwatch
        self._candidate = Candidate("reference", reference)
        self._every = every
        self._num_unseen = 0
        self._num_settlings = 0
        self._works = stopwatch.warm_up(self._candidate)
        first = self._time_ns()
        self._usual_ns = [] if first is None else [first]
        self._first_ns = first
        self._started_ns = self._checked_ns = stopwatch.clock()
        self._lost_ns = 0

    @property
    def usual_ms(self) -> float | None:
        """What the reference takes in the state that rounds are kept from; None if it does not run."""
        return statistics.median(self._usual_ns) / 1e6 if self._works and self._usual_ns else None

    def is_due(self, num_rounds: int, *, is_anyone_leaving: bool) -> bool:
        """Count the rounds of one more pass; a model leaves only with rounds that were looked at."""
        self._num_unseen += num_rounds
        return is_anyone_leaving or self._num_unseen >= self._every

    def rounds_stand(self, active: Sequence[Candidate]) -> bool:
        """Look at the reference; False when rounds were dropped and must be taken again."""
        self._num_unseen = 0
        shift = self._look()
        if abs(shift) > _TOLERANCE:
            shift = self._look()  # one disturbed round is no change of speed
        if abs(shift) <= _TOLERANCE:
            self._keep(active)
            return True
        if self._num_settlings >= _MAX_SETTLINGS:
            self._keep(active, doubtful_shift=shift)
            return True
        if shift > 0 and self._is_usual_again(active):
            self._drop(active, confirmed_too=False)
            return False
        self._settle(active, is_slower=shift > 0)
        return False

    def _is_usual_again(self, active: Sequence[Candidate]) -> bool:
        """Wait for the usual speed; False when it costs more time than it is worth."""
        while self._patience_left():
            self._stopwatch.on_progress(active[0].id if active else "", "wait")
            if self._look() <= _TOLERANCE:
                self._lost_ns += self._stopwatch.clock() - self._checked_ns
                self._checked_ns = self._stopwatch.clock()
                return True
        return False

    def _patience_left(self) -> bool:
        now = self._stopwatch.clock()
        patience = min(max((now - self._started_ns) / 2, _MIN_PATIENCE_NS), _MAX_PATIENCE_NS)
        return self._works and self._lost_ns + now - self._checked_ns <= patience

    def _settle(self, active: Sequence[Candidate], *, is_slower: bool) -> None:
        """Take the speed of now as the usual one and begin anew; who has enough rounds of a better time keeps them and leaves."""
        usual_ms = self.usual_ms
        for candidate in active:
            if is_slower and candidate.num_confirmed >= self._stopwatch.settings.min_rounds:
                candidate.is_over = True
                candidate.reference_ms = usual_ms
        self._drop([candidate for candidate in active if candidate.is_over], confirmed_too=False)
        others = [candidate for candidate in active if not candidate.is_over]
        self._drop(others, confirmed_too=True)
        self._num_settlings += 1
        self._usual_ns = [self._candidate.rounds[-1].figure_ns]
        self._started_ns = self._checked_ns = self._stopwatch.clock()
        self._lost_ns = 0
        for candidate in others:
            candidate.settled_shift = self._usual_ns[0] / (self._first_ns or self._usual_ns[0]) - 1

    def _keep(self, active: Sequence[Candidate], *, doubtful_shift: float = 0.0) -> None:
        for candidate in active:
            if doubtful_shift:
                candidate.num_doubtful += len(candidate.rounds) - candidate.num_confirmed
                candidate.shift = doubtful_shift
            candidate.num_confirmed = len(candidate.rounds)
        self._checked_ns = self._stopwatch.clock()

    def _drop(self, active: Sequence[Candidate], *, confirmed_too: bool) -> None:
        for candidate in active:
            candidate.num_confirmed = 0 if confirmed_too else candidate.num_confirmed
            candidate.num_redone += len(candidate.rounds) - candidate.num_confirmed
            del candidate.rounds[candidate.num_confirmed :]

    def _look(self) -> float:
        """Shift of the reference from its usual time; 0 when it does not run, and so watches nothing."""
        now = self._time_ns()
        if now is None or not self._usual_ns:
            return 0.0
        shift = now / statistics.median(self._usual_ns) - 1
        if abs(shift) <= _TOLERANCE:
            self._usual_ns.append(now)
        return shift

    def _time_ns(self) -> float | None:
        if not self._works or not self._stopwatch.add_round(self._candidate, 0):
            self._works = False
            return None
        del self._candidate.rounds[:-1]
        return self._candidate.rounds[-1].figure_ns
