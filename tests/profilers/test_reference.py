"""What the reference watch keeps, drops and tells, on clocks whose states are placed by hand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from profilers.protocol import Timing, measure_sitting
from profilers.runtimes.fake import VirtualClock
from profilers.settings import Settings

MS = 1_000_000
S = 1000 * MS
SETTINGS = Settings(round_ms=10.0, warm_up_ms=20.0, warm_up_cap_s=0.2, cap_s=20.0, reference_every=1)


class Model:
    """Takes 1 ms, more or less by `slowness(time now)`."""

    def __init__(self, clock: VirtualClock, slowness: Callable[[int], float]) -> None:
        self.clock, self.slowness, self.num_runs = clock, slowness, 0

    def run(self) -> None:
        self.num_runs += 1
        self.clock.advance(round(MS * self.slowness(self.clock())))


def sit(slowness: Callable[[int], float], settings: Settings = SETTINGS, num_models: int = 2) -> tuple[list[Timing], list[str]]:
    """Timings, and the stages that were told."""
    clock, stages = VirtualClock(), []  # type: VirtualClock, list[str]
    timings = measure_sitting(
        {f"m{number}": Model(clock, slowness) for number in range(num_models)},
        settings,
        clock=clock,
        rng=Random(0),
        reference=Model(clock, slowness),
        on_progress=lambda id, stage: stages.append(stage),
    )
    return timings, stages


def levels(timing: Timing) -> set[float]:
    return {sample / MS for samples in timing.rounds for sample in samples}


def between(start_ms: float, end_ms: float, factor: float) -> Callable[[int], float]:
    return lambda now: factor if start_ms * MS <= now < end_ms * MS else 1.0


def messages(timing: Timing, kind: str = "reference_moved") -> list[str]:
    return [warning.message for warning in timing.warnings if warning.kind == kind]


def test_a_steady_device_keeps_everything() -> None:
    timings, stages = sit(lambda now: 1.0)
    for timing in timings:
        assert len(timing.rounds) == SETTINGS.min_rounds
        assert timing.reference_ms == 1.0
        assert timing.warnings == ()
    assert "wait" not in stages


# warm-up of three takes 60 ms, the first look 12 ms, a pass of two models and a look 36 ms
@pytest.mark.parametrize("start_ms", [80, 100, 150, 200, 260])
@pytest.mark.parametrize("length_ms", [100, 400, 1500])
def test_a_slow_spell_is_waited_out_and_its_rounds_taken_again(start_ms: float, length_ms: float) -> None:
    timings, stages = sit(between(start_ms, start_ms + length_ms, 1.3))
    assert "wait" in stages
    for timing in timings:
        assert timing.converged
        # A round that began before the spell or after it may hold some slow runs, none is of it.
        assert all(sorted(samples)[len(samples) // 2] == MS for samples in timing.rounds)
        assert timing.reference_ms == 1.0
        (message,) = messages(timing)
        assert "taken again" in message


def test_the_faster_state_counts_when_a_sitting_begins_in_the_slower_one() -> None:
    timings, stages = sit(between(0, 200, 1.3))
    assert "wait" not in stages
    for timing in timings:
        assert levels(timing) == {1.0}
        assert timing.reference_ms == 1.0
        assert len(messages(timing)) == 2
        assert "-23%" in messages(timing)[1]


def test_a_device_that_stays_slow_is_measured_as_it_is_now() -> None:
    timings, stages = sit(lambda now: 1.0 if now < 150 * MS else 1.2)
    assert "wait" in stages
    for timing in timings:
        assert timing.converged
        assert levels(timing) == {1.2}
        assert timing.reference_ms == pytest.approx(1.2)
        assert "+20%" in messages(timing)[1]


def test_good_rounds_of_before_are_not_given_up_for_a_slow_device() -> None:
    # 1 % of trend keeps them from converging at 0.001 %, so they are there with enough rounds when the device slows.
    exact = Settings(round_ms=10.0, warm_up_ms=20.0, warm_up_cap_s=0.2, half_width=1e-5, reference_every=1, cap_s=1.0)
    timings, _ = sit(lambda now: (1.0 if now < 800 * MS else 1.2) * (1 + 1e-2 * now / S), exact)
    for timing in timings:
        assert max(levels(timing)) < 1.01
        assert not timing.converged
        assert timing.reference_ms == pytest.approx(1.0, rel=0.01)
        assert messages(timing, "unconverged")


def test_a_device_that_never_stays_is_doubted_and_the_sitting_ends() -> None:
    # A tenth faster with every pass or two, a dozen times.
    timings, _ = sit(lambda now: 0.9 ** min(12, now // (60 * MS)))
    assert len(timings) == 2
    for timing in timings:
        assert any("while the reference" in message for message in messages(timing))


def test_the_reference_is_timed_after_so_many_rounds_of_all_models() -> None:
    def num_looks(num_models: int, every: int) -> int:
        clock = VirtualClock()
        reference = Model(clock, lambda now: 1.0)
        settings = Settings(round_ms=10.0, warm_up_ms=20.0, min_rounds=20, reference_every=every)
        measure_sitting(
            {f"m{number}": Model(clock, lambda now: 1.0) for number in range(num_models)},
            settings,
            clock=clock,
            rng=Random(0),
            reference=reference,
        )
        return (reference.num_runs - 20) // 12  # 20 runs of warm-up, 12 a look

    assert num_looks(num_models=1, every=10) == 1 + 2
    assert num_looks(num_models=5, every=10) == 1 + 10
    assert num_looks(num_models=12, every=10) == 1 + 20
    assert num_looks(num_models=1, every=1000) == 1 + 1  # nobody leaves with rounds that were not looked at
