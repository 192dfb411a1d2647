"""How much each objective counts where the answer is a compromise, as a person writes it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from nat_deploy.errors import InputError
from nat_deploy.search.budget import full_name
from nat_deploy.search.objective import make_objective

ACCURACY, KNEE = "accuracy", "knee"
_FORM = re.compile(r"\s*(?P<name>[^=\s](?:[^=]*[^=\s])?)\s*=\s*(?P<number>\d+(?:\.\d*)?|\.\d+)\s*")
_EXAMPLES = f"{ACCURACY}, {KNEE}, or weights such as error=2,latency=1,macs=1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """`weight` is what the whole range of `objective` over the front counts, beside the others."""

    objective: str
    weight: float

    def __post_init__(self) -> None:
        make_objective(self.objective)
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise InputError(
                f"a weight must be a positive number, but that of {self.objective} is {self.weight}; give {_EXAMPLES}"
            )


def parse_preference(text: str, objectives: Sequence[str]) -> tuple[Weight, ...]:
    """Read what is wanted of the answer: "accuracy" (no weights), "knee" (all objectives count alike), or "error=2,latency=1"; with
    several data sets or devices "error@flowers=2,latency@phone=1".

    Raises:
        InputError: The text is none of these, or names something that is no objective.
    """
    if text.strip() == ACCURACY:
        return ()
    if text.strip() == KNEE:
        return tuple(Weight(objective=name, weight=1.0) for name in objectives)
    weights = []
    for part in text.split(","):
        found = _FORM.fullmatch(part)
        if found is None:
            raise InputError(f"a preference must be {_EXAMPLES}, but it is '{text[:100]}'; write one of these")
        name = full_name(found["name"])
        if name not in objectives:
            raise InputError(
                f"weights must be of objectives of the search, {', '.join(objectives)}, but one is of '{name}'; choose one of these"
            )
        weights.append(Weight(objective=name, weight=float(found["number"])))
    if len({weight.objective for weight in weights}) < len(weights):
        raise InputError(f"each objective may have one weight, but '{text[:100]}' gives one twice; remove one")
    return tuple(weights)
