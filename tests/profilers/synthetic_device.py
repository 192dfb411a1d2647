"""Devices in virtual time whose speed drifts, spikes or has two states, and sittings on them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from random import Random

import numpy as np

from profilers.device_facts import read_facts
from profilers.measurement import Measurement
from profilers.protocol import Timing, measure_sitting
from profilers.runtimes.fake import VirtualClock
from profilers.settings import Settings
from profilers.sitting import Sitting
from profilers.target import Target

MS = 1_000_000
Speed = Callable[[int], float]  # time now in ns -> how many times slower than at best


class SyntheticModel:
    """A run lasts `base_ms`, times the state of the device, times noise of its round, times noise of the run, plus spikes."""

    def __init__(
        self,
        clock: VirtualClock,
        base_ms: float,
        rng: np.random.Generator,
        *,
        slowness: Speed = lambda now: 1.0,
        round_noise: float = 0.01,
        run_noise: float = 0.02,
        spike_share: float = 0.0,
    ) -> None:
        self.clock, self.base_ns, self.slowness = clock, base_ms * MS, slowness
        runs = np.exp(run_noise * rng.standard_normal(4096))
        runs += (rng.random(4096) < spike_share) * rng.exponential(2.0, 4096)
        self._runs = cycle(runs.tolist())
        self._rounds = cycle(np.exp(round_noise * rng.standard_normal(512)).tolist())
        self.begin_round()

    def begin_round(self) -> None:
        self._round = next(self._rounds)

    def run(self) -> None:
        duration = self.base_ns * self.slowness(self.clock.now_ns) * self._round * next(self._runs)
        self.clock.advance(int(duration))


def two_states(rng: np.random.Generator, *, slow: float, dwell_ms: float, horizon_ms: float = 600_000) -> Speed:
    """A clock that stays at each of two speeds for times drawn from an exponential law; it begins at either."""
    count = math.ceil(3 * horizon_ms / dwell_ms) + 10
    borders = (np.cumsum(rng.exponential(dwell_ms * MS, count))).tolist()
    first = int(rng.integers(2))
    return lambda now: slow if (bisect_right(borders, now) + first) % 2 else 1.0


def drifting(rng: np.random.Generator, *, depth: float, period_ms: float) -> Speed:
    """A clock that swings slowly; it begins anywhere in its swing."""
    phase = rng.uniform(0, 2 * math.pi)
    return lambda now: 1 + depth * math.sin(phase + 2 * math.pi * now / (period_ms * MS))


@dataclass(frozen=True)
class Law:
    """How single runs spread on a device that stands still."""

    round_noise: float = 0.01
    run_noise: float = 0.02
    spike_share: float = 0.0

    def figure(self, quantile: float, num_runs: int) -> float:
        """Median over very many rounds of a quantile of their runs, for a model of 1 ms: what measurements estimate."""
        rng = np.random.default_rng(0)
        shape = (20_000, num_runs)
        runs = np.exp(self.run_noise * rng.standard_normal(shape))
        runs += (rng.random(shape) < self.spike_share) * rng.exponential(2.0, shape)
        rounds = np.exp(self.round_noise * rng.standard_normal(len(runs)))
        return float(np.median(rounds * np.quantile(runs, quantile, axis=1)))


def sit(
    seed: int,
    base_ms: dict[str, float],
    *,
    law: Law,
    settings: Settings,
    speed: Callable[[np.random.Generator], Speed] = lambda rng: lambda now: 1.0,
    reference_ms: float | None = None,
    together: bool = False,
) -> tuple[list[Timing], Speed]:
    """One sitting, and the speed of the device over its time."""
    clock, rng = VirtualClock(), np.random.default_rng(seed)
    slowness = speed(rng)

    def make(base: float) -> SyntheticModel:
        return SyntheticModel(
            clock,
            base,
            rng,
            slowness=slowness,
            round_noise=law.round_noise,
            run_noise=law.run_noise,
            spike_share=law.spike_share,
        )

    models = {name: make(base) for name, base in base_ms.items()}
    reference = None if reference_ms is None else make(reference_ms)

    def begin_round() -> None:
        for model in (*models.values(), *filter(None, [reference])):
            model.begin_round()

    timings = measure_sitting(
        models,
        settings,
        clock=clock,
        rng=Random(seed),
        reference=reference,
        together=together,
        observe=begin_round,
    )
    return timings, slowness


FACTS = read_facts("fake", "1")


def as_measurement(timing: Timing, *, sitting: str = "s") -> Measurement:
    """The record that a worker would make of it."""
    return Measurement(
        id=timing.id,
        model_sha256="0" * 64,
        target=Target("board", "fake", "1", "fp32", threads=1),
        settings=Settings(),
        affinity=None,
        rounds=timing.rounds,
        runs_per_sample=timing.runs_per_sample,
        num_warmup=timing.num_warmup,
        load_ms=1.0,
        converged=timing.converged,
        warnings=timing.warnings,
        facts=FACTS,
        sitting=Sitting(
            id=sitting,
            passes=timing.passes,
            starts_ms=tuple(start // MS for start in timing.starts_ns),
            reference_ms=timing.reference_ms,
            conditions=(),
        ),
    )
