"""How long and how exactly to measure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from profilers.errors import JobError
from profilers.strict_json import checked_object
from profilers.target import check_count

_FLOATS = ("half_width", "round_ms", "cap_s", "warm_up_ms", "warm_up_cap_s", "stall_s")
_COUNTS = ("min_runs", "min_rounds", "rewarm_runs", "reference_every")


@dataclass(frozen=True)
class Settings:
    """Numbers of the measuring protocol; the defaults are the preset "default".

    Sources: 200 ms of warm-up and ten runs are trtexec's rule, the 15 s cap is NVBench's.
    """

    half_width: float = 0.01  # a model is done when its 95 % interval is +- this share of the estimate
    round_ms: float = 30.0  # a round lasts at least so long ...
    min_runs: int = 10  # ... and holds at least so many runs
    min_rounds: int = 6
    cap_s: float = 15.0  # time in rounds of one model, after which it is reported as unconverged
    warm_up_ms: float = 200.0
    warm_up_cap_s: float = 10.0
    rewarm_runs: int = 2  # untimed runs at the start of a round: caches hold the model before
    reference_every: int = 10  # the reference model is timed after so many rounds, and before a model is done
    stall_s: float = 120.0  # a worker that reports nothing for so long is killed

    def __post_init__(self) -> None:
        for name in _FLOATS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
                raise JobError(f"settings.{name} must be a positive number, but {value!r} came; correct it.")
            object.__setattr__(self, name, float(value))
        for name in _COUNTS:
            check_count(f"settings.{name}", getattr(self, name))
        if self.min_rounds < 5:
            raise JobError(
                f"settings.min_rounds must be at least 5, but {self.min_rounds} came; fewer rounds cannot give a 95 % interval."
            )

    @staticmethod
    def preset(name: str) -> Settings:
        """Return "fast" (+-2 %), "default" (+-1 %) or "precise" (+-0.5 %).

        Raises:
            JobError: There is no preset of that name.
        """
        if name == "fast":
            return Settings(half_width=0.02, cap_s=2.0, warm_up_ms=100.0, warm_up_cap_s=2.0)
        if name == "default":
            return Settings()
        if name == "precise":
            return Settings(half_width=0.005, round_ms=100.0, cap_s=60.0, warm_up_ms=1000.0)
        raise JobError(f"the preset must be one of fast, default, precise, but {name!r} came; choose one.")

    def for_comparison(self) -> Settings:
        """The same for models that are compared with one another: many short rounds, so that they take turns more often.

        Under load that goes on and off, the ratio of two networks of 2 ms spread by 1.4 % with rounds of 10 ms and by
        2.5 % with rounds of 30 ms, in the same time (`benchmarks/faster_than.py`).
        """
        return replace(self, round_ms=10.0, min_runs=5, min_rounds=30)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(document: object) -> Settings:
        """Missing keys take the defaults.

        Raises:
            JobError: A key is unknown or mistyped, or a value is not allowed.
        """
        fields: dict[str, tuple[type, ...]] = {
            **dict.fromkeys(_FLOATS, (float,)),
            **dict.fromkeys(_COUNTS, (int,)),
        }
        return Settings(**checked_object(document, fields, "settings", may_lack=fields))
