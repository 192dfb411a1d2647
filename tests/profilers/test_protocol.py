"""The sitting on clocks that the test moves: what is timed, in which order, and when it stops."""

from __future__ import annotations

import gc
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

from profilers.errors import JobError, ProfilerError, RuntimeFailedError
from profilers.noise import measure_noise
from profilers.protocol import Timing, measure_sitting
from profilers.rounds import clock_resolution_ns
from profilers.runtimes.fake import VirtualClock
from profilers.settings import Settings
from profilers.statistics import median_interval, round_quantiles

MS = 1_000_000
SETTINGS = Settings(half_width=0.01, round_ms=10.0, cap_s=1.0, warm_up_ms=20.0, warm_up_cap_s=0.2)


class Model:
    """Moves the clock by `duration_ns(time now)` and writes its name into `log`."""

    def __init__(
        self,
        clock: VirtualClock,
        duration_ns: Callable[[int], float],
        name: str = "",
        log: list[str] | None = None,
    ) -> None:
        self.clock, self.duration_ns, self.name = clock, duration_ns, name
        self.log = [] if log is None else log

    def run(self) -> None:
        self.log.append(self.name)
        self.clock.advance(max(1, round(self.duration_ns(self.clock()))))


def sit(clock: VirtualClock, models: dict[str, Model], settings: Settings = SETTINGS, **more: Any) -> list[Timing]:
    return measure_sitting(models, settings, clock=clock, rng=Random(0), **more)


def kinds(timing: Timing) -> list[str]:
    return [warning.kind for warning in timing.warnings]


def test_a_steady_model_takes_the_fewest_rounds() -> None:
    clock = VirtualClock()
    (timing,) = sit(clock, {"a": Model(clock, lambda now: MS)})
    assert timing.rounds == ((MS,) * 10,) * SETTINGS.min_rounds
    assert timing.converged
    assert timing.warnings == ()
    assert timing.num_warmup == 20


def test_a_round_has_a_shortest_time_and_a_fewest_runs() -> None:
    clock = VirtualClock()
    models = {"slow": Model(clock, lambda now: 5 * MS), "fast": Model(clock, lambda now: MS / 10)}
    slow, fast = sit(clock, models)
    assert {len(samples) for samples in slow.rounds} == {SETTINGS.min_runs}
    assert {len(samples) for samples in fast.rounds} == {100}


def test_models_take_turns_in_alternating_order() -> None:
    clock, log = VirtualClock(), []  # type: VirtualClock, list[str]
    sit(clock, {name: Model(clock, lambda now: MS, name, log) for name in "abcd"})
    after_warm_up = log[80:]
    order = [name for index, name in enumerate(after_warm_up) if index % 12 == 0]  # 2 + 10 runs in a round
    passes = ["".join(order[start : start + 4]) for start in range(0, 20, 4)]
    assert all(sorted(names) == list("abcd") for names in passes)
    assert passes[1] == passes[0][::-1]
    assert passes[3] == passes[2][::-1]
    assert passes[2] != passes[0]


def test_drift_meets_interleaved_models_alike() -> None:
    clock = VirtualClock()

    def drifting(base: float) -> Callable[[int], float]:
        return lambda now: base * (1 + 0.3 * now / 1e9)

    a, b = sit(clock, {"a": Model(clock, drifting(MS)), "b": Model(clock, drifting(1.1 * MS))})
    count = min(len(a.rounds), len(b.rounds)) // 2 * 2
    ratio = np.sum(round_quantiles(b.rounds[:count], 0.25)) / np.sum(round_quantiles(a.rounds[:count], 0.25))
    assert ratio == pytest.approx(1.1, rel=0.01)


def test_rare_spikes_neither_move_the_result_nor_vanish() -> None:
    clock, rng = VirtualClock(), np.random.default_rng(0)
    spiky = Model(clock, lambda now: MS * (8 if rng.random() < 0.15 else rng.normal(1, 0.003)))
    (timing,) = sit(clock, {"a": spiky})
    assert np.median(round_quantiles(timing.rounds, 0.25)) == pytest.approx(MS, rel=0.01)
    assert max(map(max, timing.rounds)) == 8 * MS
    assert "slow_runs" in kinds(timing)


def test_a_clock_with_two_states_is_never_called_converged() -> None:
    clock, rng = VirtualClock(), np.random.default_rng(1)
    state = {"until": 0, "factor": 1.0}

    def duration(now: int) -> float:
        if now >= state["until"]:
            state.update(until=now + 25 * MS, factor=float(rng.choice([1.0, 1.5])))
        return MS * state["factor"]

    (timing,) = sit(clock, {"a": Model(clock, duration)}, Settings(cap_s=0.3, warm_up_ms=20.0, round_ms=10.0))
    assert not timing.converged
    assert "unconverged" in kinds(timing)
    low, high = median_interval(round_quantiles(timing.rounds, 0.5))
    assert low <= MS
    assert high >= 1.5 * MS


def test_a_broken_reference_watches_nothing() -> None:
    clock = VirtualClock()

    def broken(now: int) -> float:
        raise RuntimeFailedError("broken")

    failures: list[str] = []
    (timing,) = sit(
        clock,
        {"a": Model(clock, lambda now: MS)},
        reference=Model(clock, broken),
        on_failed=lambda id, error: failures.append(id),
    )
    assert timing.converged
    assert failures == []


@pytest.mark.parametrize("failing_run", [1, 25])
def test_a_failing_model_leaves_and_the_others_go_on(failing_run: int) -> None:
    clock = VirtualClock()
    bad = Model(clock, lambda now: MS)

    def duration(now: int) -> float:
        if len(bad.log) >= failing_run:
            raise RuntimeFailedError("it broke")
        return MS

    bad.duration_ns = duration
    failures: list[tuple[str, ProfilerError]] = []
    timings = sit(
        clock,
        {"bad": bad, "good": Model(clock, lambda now: MS)},
        on_failed=lambda id, error: failures.append((id, error)),
    )
    assert [timing.id for timing in timings] == ["good"]
    assert [(id, str(error)) for id, error in failures] == [("bad", "it broke")]


def test_warm_up_ends_when_times_stand_still_or_at_the_cap() -> None:
    clock = VirtualClock()
    start = clock()
    (timing,) = sit(clock, {"a": Model(clock, lambda now: MS * (9 if now - start < 60 * MS else 1))})
    assert set(sum(timing.rounds, ())) == {MS}
    assert "unsettled_warm_up" not in kinds(timing)

    clock = VirtualClock()
    (timing,) = sit(clock, {"a": Model(clock, lambda now: MS * (1 + now / 3e8))})
    assert "unsettled_warm_up" in kinds(timing)


def test_very_fast_models_are_timed_several_runs_together() -> None:
    clock = VirtualClock()

    def ticking() -> int:
        return clock() // 50 * 50  # this clock moves in steps of 50 ns

    ticking_calls = iter(range(10**9))
    assert clock_resolution_ns(lambda: next(ticking_calls) // 2 * 50) == 50
    model = Model(clock, lambda now: 5_000)
    reading = iter(range(200))

    def with_steps() -> int:
        return ticking() + 50 * next(reading, 200)

    (timing,) = measure_sitting({"a": model}, SETTINGS, clock=with_steps, rng=Random(0))
    assert timing.runs_per_sample == 10
    assert set(sum(timing.rounds, ())) == {5_000}
    assert "timer_resolution" in kinds(timing)


def test_a_very_slow_model_still_ends() -> None:
    clock = VirtualClock()
    (timing,) = sit(clock, {"a": Model(clock, lambda now: 2000 * MS)})
    assert len(timing.rounds) == 2
    assert not timing.converged


def test_garbage_collection_is_off_only_while_timing() -> None:
    clock = VirtualClock()
    seen: list[bool] = []

    def duration(now: int) -> float:
        seen.append(gc.isenabled())
        return MS

    sit(clock, {"a": Model(clock, duration)})
    assert gc.isenabled()
    assert seen[-SETTINGS.min_runs :] == [False] * SETTINGS.min_runs


def test_timings_are_handed_out_as_soon_as_they_are_done() -> None:
    clock, rng, done = VirtualClock(), np.random.default_rng(0), []  # type: VirtualClock, Any, list[str]
    models = {
        "noisy": Model(clock, lambda now: MS * rng.choice([1, 2])),
        "steady": Model(clock, lambda now: MS),
    }
    timings = sit(clock, models, on_timing=lambda timing: done.append(timing.id))
    assert done == ["steady", "noisy"]
    assert [timing.id for timing in timings] == ["noisy", "steady"]


def test_the_same_seed_gives_the_same_sitting() -> None:
    def once() -> list[Timing]:
        clock, rng = VirtualClock(), np.random.default_rng(3)
        return sit(clock, {n: Model(clock, lambda now: MS * rng.normal(1, 0.01)) for n in "abc"})

    assert once() == once()


@pytest.mark.parametrize(("spread", "verdict"), [(0.0, "quiet"), (0.03, "usable"), (0.2, "noisy")])
def test_noise_is_judged_by_the_spread_of_rounds(spread: float, verdict: str) -> None:
    clock, rng = VirtualClock(), np.random.default_rng(0)
    state = {"runs": 0, "factor": 1.0}

    def duration(now: int) -> float:
        state["runs"] += 1
        if state["runs"] % 32 == 0:
            state["factor"] = abs(rng.normal(1, spread))
        return MS * state["factor"]

    noise = measure_noise(2.0, clock=clock, loop=lambda: Model(clock, duration))
    assert noise.verdict == verdict
    assert noise.to_json()["num_rounds"] == noise.num_rounds > 5


def test_presets_differ_in_width_and_unknown_ones_are_named() -> None:
    widths = [Settings.preset(name).half_width for name in ("fast", "default", "precise")]
    assert widths == [0.02, 0.01, 0.005]
    with pytest.raises(JobError, match="fast, default, precise"):
        Settings.preset("perfect")
