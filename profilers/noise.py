"""How noisy is this device right now? A fixed loop is timed through the same protocol as models."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from profilers.device_facts import CpuTimes, read_facts, steal_share, warnings_of
from profilers.protocol import Clock, Runnable, measure_sitting
from profilers.settings import Settings
from profilers.statistics import slow_share, variation_of_rounds
from profilers.strict_json import checked_object

_FIELDS = {"verdict": (str,), "variation": (float,), "slow_share": (float,), "num_rounds": (int,), "advice": (list,)}
QUIET = 0.02
USABLE = 0.05


@dataclass(frozen=True)
class Noise:
    """Spread of a fixed loop over some seconds."""

    variation: float  # coefficient of variation of the round medians
    slow_share: float
    num_rounds: int
    advice: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """ "quiet" below 2 %, "usable" to 5 %, else "noisy"."""
        return "quiet" if self.variation < QUIET else "usable" if self.variation <= USABLE else "noisy"

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "variation": self.variation,
            "slow_share": self.slow_share,
            "num_rounds": self.num_rounds,
            "advice": list(self.advice),
        }

    @staticmethod
    def from_json(document: object) -> Noise:
        """Raises: JobError when a key is unknown, missing or mistyped."""
        values = checked_object(document, _FIELDS, "noise")
        del values["verdict"]  # it follows from the numbers
        return Noise(**{**values, "advice": tuple(map(str, values["advice"]))})


class ReferenceLoop:
    """About half a millisecond of arithmetic in one thread."""

    def __init__(self) -> None:
        self._values = np.linspace(0.0, 1.0, 1 << 14, dtype=np.float32)
        self._result = np.empty_like(self._values)

    def run(self) -> None:
        for _ in range(100):
            np.multiply(self._values, self._values, out=self._result)


def measure_noise(seconds: float, *, clock: Clock = time.perf_counter_ns, loop: Callable[[], Runnable] = ReferenceLoop) -> Noise:
    """Time the loop for about so many seconds and judge the spread of its rounds."""
    before = CpuTimes.read()
    # So many rounds are never reached, so the cap decides.
    settings = Settings(min_rounds=1_000_000, cap_s=max(seconds, 0.1))
    (timing,) = measure_sitting({"loop": loop()}, settings, clock=clock, rng=Random(0))
    facts = replace(read_facts(), steal_share=steal_share(before, CpuTimes.read()))
    advice = [warning.message for warning in warnings_of(facts)]
    # The loop itself is one unit of load.
    if facts.load_average is not None and facts.load_average > 1.5:
        advice.append(f"the load average is {facts.load_average:g}; stop other work on the device")
    return Noise(
        variation=variation_of_rounds(timing.rounds),
        slow_share=slow_share(timing.rounds),
        num_rounds=len(timing.rounds),
        advice=tuple(advice),
    )
