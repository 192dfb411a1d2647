"""The sitting that a measurement comes from: with which other rounds it took turns, and how the device was meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from profilers.conditions import Condition, samples_from_json, samples_to_json
from profilers.errors import JobError
from profilers.strict_json import OPTIONAL, checked_object

_FIELDS = {
    "id": (str,),
    "passes": (list,),
    "starts_ms": (list,),
    "reference_ms": (float, OPTIONAL),
    "conditions": (dict,),
    "parts_ns": (dict,),
}


@dataclass(frozen=True)
class Part:
    """What a run is made of, or another clock's word on it: "gpu" is between CUDA events, "host" is the caller's time."""

    name: str
    medians_ns: tuple[int, ...]  # of each round

    def __post_init__(self) -> None:
        if not self.name or not all(type(n) is int and n >= 0 for n in self.medians_ns):
            raise JobError("a part of the runs must have a name, and whole ns for each round; measure again.")


@dataclass(frozen=True)
class Sitting:
    """Models of one sitting compare round by round; their absolute times are those of the device at that time."""

    id: str  # the same for all measurements of a sitting
    passes: tuple[int, ...]  # of each round; rounds of two models with the same number were taken in turn
    starts_ms: tuple[int, ...]  # of each round, since the sitting began
    reference_ms: float | None  # what the reference model took when these rounds were taken; None without one
    conditions: tuple[Condition, ...]
    parts: tuple[Part, ...] = ()  # where the runtime tells them

    def __post_init__(self) -> None:
        counts = (*self.passes, *self.starts_ms)
        if not self.id or len(self.passes) != len(self.starts_ms) or not all(type(n) is int and n >= 0 for n in counts):
            raise JobError("a sitting must have an id, and for each round a pass and a start; measure again.")
        if any(after <= before for before, after in zip(self.passes, self.passes[1:])):
            raise JobError("the passes of a measurement must grow from round to round, but they do not; measure again.")
        if any(len(part.medians_ns) != len(self.passes) for part in self.parts):
            raise JobError("the parts of the runs must be told for every round, but some are not; measure again.")
        if self.reference_ms is not None and self.reference_ms <= 0:
            raise JobError(f"the reference must take time, but reference_ms is {self.reference_ms!r}; measure again.")

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "passes": list(self.passes),
            "starts_ms": list(self.starts_ms),
            "reference_ms": self.reference_ms,
            "conditions": samples_to_json(self.conditions),
            **({"parts_ns": {part.name: list(part.medians_ns) for part in self.parts}} if self.parts else {}),
        }

    @staticmethod
    def from_json(document: object) -> Sitting:
        """Raises: JobError when a key is unknown, missing or mistyped, or rounds do not add up."""
        values = checked_object(document, _FIELDS, "sitting", may_lack=("parts_ns",))
        values["passes"], values["starts_ms"] = tuple(values["passes"]), tuple(values["starts_ms"])
        values["conditions"] = samples_from_json(values["conditions"])
        columns = values.pop("parts_ns", None) or {}
        if not all(isinstance(column, list) for column in columns.values()):
            raise JobError("sitting.parts_ns must hold a list for each part, but it does not; measure again.")
        parts = tuple(Part(name, tuple(column)) for name, column in columns.items())
        return Sitting(**values, parts=parts)
