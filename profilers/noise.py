"""How noisy is this device right now? A fixed loop is timed through the same protocol as models."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from profilers.conditions import (
    Condition,
    ConditionRecorder,
    ConditionSampler,
    CpuSampler,
    condition_warnings,
    samples_from_json,
    samples_to_json,
    share_paused,
)
from profilers.device_facts import CpuTimes, DeviceFacts, read_facts, steal_share, warnings_of
from profilers.measurement_warning import MeasurementWarning
from profilers.protocol import measure_sitting
from profilers.rounds import Clock, Runnable
from profilers.settings import Settings
from profilers.statistics import round_quantiles, slow_share, variation_of_rounds
from profilers.strict_json import checked_object

QUIET = 0.02
USABLE = 0.05
_FIELDS = {
    "verdict": (str,),
    "variation": (float,),
    "swing": (float,),
    "slow_share": (float,),
    "num_rounds": (int,),
    "facts": (dict,),
    "conditions": (dict,),
    "warnings": (list,),
}


@dataclass(frozen=True)
class Noise:
    """Spread of a fixed loop over some seconds, and what may cause it."""

    variation: float  # coefficient of variation of the round medians
    swing: float  # from the fastest tenth of the round medians to the slowest: clocks with two states show here
    slow_share: float
    num_rounds: int
    facts: DeviceFacts  # with the steal time of these seconds
    conditions: tuple[Condition, ...]
    warnings: tuple[MeasurementWarning, ...]

    @property
    def verdict(self) -> str:
        """ "quiet" below 2 % of variation, "usable" to 5 %, else "noisy"."""
        return "quiet" if self.variation < QUIET else "usable" if self.variation <= USABLE else "noisy"

    @property
    def meaning(self) -> str:
        """What the verdict means for measuring here."""
        if self.verdict == "quiet":
            return "intervals will be narrow"
        if self.verdict == "usable":
            return "models that take turns compare well"
        return "intervals will be wide; models that take turns still compare"

    @property
    def advice(self) -> tuple[str, ...]:
        """What would help, a sentence each; the most promising first."""
        kinds = {warning.kind for warning in self.warnings}
        sentences = [warning.message for warning in sorted(self.warnings, key=lambda warning: _order(warning.kind))]
        if self.facts.turbo and self.verdict != "quiet" and "clock_varied" not in kinds:
            sentences.append("turbo is on, so the clock depends on heat and on neighbours; turned off, times are steadier")
        if self.verdict != "quiet" and not kinds & {"load", "steal_time", "cgroup_quota", "throttled"}:
            sentences.append(
                "nothing on the device itself explains it; on a shared machine neighbours may, which no setting changes: "
                "measure at another time, or on a machine of its own"
            )
        if self.verdict != "quiet" and self.facts.num_cores > 1:
            sentences.append(
                "bind the measuring process to CPUs that do nothing else: "
                f"affinity = [{self.facts.num_cores - 1}] in the description of the device"
            )
        return tuple(sentences)

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "variation": self.variation,
            "swing": self.swing,
            "slow_share": self.slow_share,
            "num_rounds": self.num_rounds,
            "facts": self.facts.to_json(),
            "conditions": samples_to_json(self.conditions),
            "warnings": [warning.to_json() for warning in self.warnings],
        }

    @staticmethod
    def from_json(document: object) -> Noise:
        """Raises: JobError when a key is unknown, missing or mistyped."""
        values = checked_object(document, _FIELDS, "noise")
        del values["verdict"]  # it follows from the numbers
        values["facts"] = DeviceFacts.from_json(values["facts"])
        values["conditions"] = samples_from_json(values["conditions"])
        values["warnings"] = tuple(MeasurementWarning.from_json(warning) for warning in values["warnings"])
        return Noise(**values)


class ReferenceLoop:
    """A fraction of a millisecond of arithmetic in one thread."""

    def __init__(self) -> None:
        self._values = np.linspace(0.0, 1.0, 1 << 14, dtype=np.float32)
        self._result = np.empty_like(self._values)

    def run(self) -> None:
        for _ in range(100):
            np.multiply(self._values, self._values, out=self._result)


def measure_noise(
    seconds: float,
    *,
    clock: Clock = time.perf_counter_ns,
    loop: Callable[[], Runnable] = ReferenceLoop,
    sampler: Callable[[], ConditionSampler] = CpuSampler,
    read: Callable[[], DeviceFacts] = read_facts,
    cpu_times: Callable[[], CpuTimes | None] = CpuTimes.read,
) -> Noise:
    """Time the loop for about so many seconds and judge the spread of its rounds.

    Args:
        seconds: How long.
        clock: Monotonic time in ns.
        loop: Makes what is timed; with the rest, where that is not this device.
        sampler: Watches the device meanwhile.
        read: Reads its facts.
        cpu_times: Reads its CPU time.
    """
    before = cpu_times()
    recorder = ConditionRecorder(sampler())
    # So many rounds are never reached, so the cap decides.
    settings = Settings(min_rounds=1_000_000, cap_s=max(seconds, 0.1))
    (timing,) = measure_sitting({"loop": loop()}, settings, clock=clock, rng=Random(0), observe=recorder.observe)
    facts = replace(read(), steal_share=steal_share(before, cpu_times()))
    conditions = recorder.samples()
    fast, slow = np.quantile(round_quantiles(timing.rounds, 0.5), [0.1, 0.9])
    return Noise(
        variation=variation_of_rounds(timing.rounds),
        swing=float(slow / fast - 1),
        slow_share=slow_share(timing.rounds),
        num_rounds=len(timing.rounds),
        facts=facts,
        conditions=conditions,
        warnings=(
            *warnings_of(facts, share_paused=share_paused(conditions)),
            *condition_warnings(conditions, facts.num_cores),
        ),
    )


def _order(kind: str) -> int:
    """Other work disturbs most and is stopped most easily; clocks need rights."""
    kinds = ("load", "cgroup_quota", "steal_time", "throttled", "temperature", "governor", "clock_varied")
    return kinds.index(kind) if kind in kinds else len(kinds)
