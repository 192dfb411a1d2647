"""What a reader of a latency should know before trusting it: warnings are values, kept with the record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from profilers.errors import JobError
from profilers.strict_json import checked_object

KINDS = (
    "slow_runs",  # too many runs far above the median: the host is busy
    "uneven_rounds",  # too many rounds far from the others: the device has more than one speed
    "unconverged",  # the time cap came before the interval was narrow enough
    "unsettled_warm_up",  # run times still moved when warm-up ended
    "steal_time",  # the hypervisor gave the CPU to someone else
    "cgroup_quota",  # a CPU quota makes times bimodal
    "reference_moved",  # the fixed reference model changed speed during the sitting
    "governor",  # the clock is free to move
    "clock_varied",  # it did
    "throttled",  # the device slowed itself down
    "temperature",  # it is hot, or grew hot
    "load",  # other processes were busy
    "timer_resolution",  # the model is so fast that several runs are timed together
    "aggregated",  # the tool that runs the model tells one figure for many runs
)


@dataclass(frozen=True)
class MeasurementWarning:
    """One doubt about a measurement."""

    kind: str  # one of KINDS
    message: str  # what was seen and what would help

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise JobError(f"a warning's kind must be one of {', '.join(KINDS)}, but {self.kind!r} came; correct it.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(document: object) -> MeasurementWarning:
        """Raises: JobError when a key is unknown, missing or mistyped."""
        return MeasurementWarning(**checked_object(document, {"kind": (str,), "message": (str,)}, "warning"))
