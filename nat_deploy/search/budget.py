"""Upper bounds on objectives, as a person writes them, and the least that a space can do."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import InputError
from nat_deploy.search.objective import COUNTED, ERROR, LATENCY, latency_objective, make_objective
from nat_deploy.spaces import Genes, SearchSpace

_FACTORS = {
    "ms": {"us": 1e-3, "ms": 1.0, "s": 1e3},
    "count": {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9},
    "bytes": {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30},
}
_SHORT_NAMES = {"error": ERROR, "latency": LATENCY, "params": "num_params", "memory": "peak_activation_bytes"}
_FORM = re.compile(r"\s*(?:(?P<name>[^=\s]+)\s*=)?\s*(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>[A-Za-z]*)\s*")
_EXAMPLES = "for example 20ms, latency=20ms, macs=300M, params=5M or memory=4MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """`objective` must not exceed `upper`, in the objective's unit."""

    objective: str
    upper: float

    def __post_init__(self) -> None:
        _check_cost(self.objective)
        if not (math.isfinite(self.upper) and self.upper > 0):
            raise InputError(
                f"a budget must be a positive number, but {self.objective} is bound by {self.upper}; give {_EXAMPLES}"
            )

    def __str__(self) -> str:
        return f"{self.objective} <= {self.upper:.10g}"


def parse_budget(text: str) -> Budget:
    """Read "20ms" (a latency), "latency=20ms", "latency@jetson=20ms", "macs=300M", "params=5M", "memory=4MB".

    Raises:
        InputError: The text is no budget, or its unit does not fit.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise InputError(f"budget must be a number with a unit, but it is '{text}'; write {_EXAMPLES}")
    name = full_name(found["name"] or "latency")
    _check_cost(name)
    units = _FACTORS["count" if name in COUNTED else "ms"]
    if name == "peak_activation_bytes":
        units = _FACTORS["bytes"]
    if found["unit"].lower() not in units:
        allowed = ", ".join(unit or "none" for unit in units)
        raise InputError(
            f"unit of budget '{text}' must be one of {allowed}, but it is '{found['unit'] or 'none'}'; write {_EXAMPLES}"
        )
    return Budget(objective=name, upper=float(found["number"]) * units[found["unit"].lower()])


def full_name(name: str) -> str:
    """Name of an objective that may be written short: "error", "latency", "latency@jetson", "params", "memory"."""
    short, at, device = name.partition("@")
    return _SHORT_NAMES.get(short, short) + at + device


def parse_latency_budget(text: str) -> Budget:
    """Read "20ms", a latency on every device, or "phone=35ms", on that device.

    Raises:
        InputError: The text is neither.
    """
    device, is_named, amount = text.rpartition("=")
    budget = parse_budget(f"latency={amount}")
    if not is_named:
        return budget
    if not device.strip():
        raise InputError(f"a latency budget must be like 20ms, or like phone=35ms for one of several devices, but it is '{text}'")
    return Budget(objective=f"{LATENCY}@{device.strip()}", upper=budget.upper)


def assign_budgets(budgets: Sequence[Budget], devices: Sequence[str]) -> tuple[Budget, ...]:
    """The budgets of a search on these devices: a latency without a device's name holds for every device that has none of its own.

    Args:
        budgets: As a person wrote them.
        devices: Names, all different.

    Returns:
        Budgets whose latencies have the names of `latency_objective`, those of devices in the order of the devices.

    Raises:
        InputError: A latency names no device of the search, or one device or none would have two.
    """
    asked: dict[str, list[float]] = {}  # by device; "" stands for every device
    for budget in budgets:
        if make_objective(budget.objective).source == "latency":
            asked.setdefault(budget.objective.partition("@")[2], []).append(budget.upper)
    for device, uppers in asked.items():
        if device not in ("", *devices):
            raise InputError(
                f"a latency budget must be for one of the devices of the search, {', '.join(devices)}, but it is for '{device}'; "
                f"add --device {device}, or correct the name"
            )
        if len(uppers) > 1:
            who = f"'{device}'" if device else "the latency without a device's name"
            raise InputError(
                f"each device may have one latency budget, but {who} has {uppers[0]:g}ms and {uppers[1]:g}ms; remove one"
            )
    for_all = asked.pop("", [])
    if for_all and len(asked) == len(devices):
        raise InputError(
            f"a latency budget without a device's name is for devices that have none of their own, but each has one; "
            f"remove {for_all[0]:g}ms"
        )
    latencies = [
        Budget(objective=latency_objective(device, devices), upper=upper)
        for device in devices
        for upper in asked.get(device, for_all)
    ]
    return (*latencies, *(budget for budget in budgets if make_objective(budget.objective).source != "latency"))


def _check_cost(objective: str) -> None:
    if make_objective(objective).source == "evaluated":
        raise InputError(f"a budget must bound a cost, but it bounds '{objective}'; give {_EXAMPLES}")


def find_smallest(
    space: SearchSpace, cost: Callable[[Genes], NDArray[np.float64]], rng: np.random.Generator, *, num_starts: int = 4
) -> tuple[Genes, float]:
    """The architecture of the lowest cost that greedy descent finds, shape `(1, num_genes)`, and its cost.

    Starts from the smallest architecture and a few random ones; each step tries every value of every gene and takes the best
    change, until none helps. For a cost that is a sum over layers this is the minimum.
    """
    starts = np.concatenate([space.encode(space.smallest())[None], space.sample(rng, num_starts - 1)])
    ends = [_descend(space, cost, start[None]) for start in starts]
    return min(ends, key=lambda end: end[1])


def _descend(space: SearchSpace, cost: Callable[[Genes], NDArray[np.float64]], genes: Genes) -> tuple[Genes, float]:
    value = float(cost(genes)[0])
    while True:
        neighbours = _neighbours(space, genes[0])
        if not len(neighbours):
            return genes, value
        costs = cost(neighbours)
        best = int(costs.argmin())
        if not costs[best] < value:
            return genes, value
        genes, value = neighbours[best : best + 1], float(costs[best])


def _neighbours(space: SearchSpace, genes: NDArray[np.int64]) -> Genes:
    """All architectures that differ in one gene string position, in canonical form, without `genes` itself."""
    rows = []
    for position, (low, high) in enumerate(zip(space.gene_lower, space.gene_upper, strict=True)):
        changed = np.repeat(genes[None], high - low + 1, axis=0)
        changed[:, position] = np.arange(low, high + 1)
        rows.append(changed)
    candidates: Genes = np.unique(space.repair(np.concatenate(rows)), axis=0)
    changed_rows: Genes = candidates[(candidates != genes).any(axis=1)]
    return changed_rows
