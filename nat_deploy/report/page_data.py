"""What the page's script draws from: the networks of a run with their measures, as JSON that may stand inside a script element."""

import json
from collections.abc import Sequence
from typing import Any

from nat_deploy.report.network import Cost, Network
from nat_deploy.report.reading import RunReading
from nat_deploy.report.wording import architecture_lines, axis_of, bound, name_of, scaled

_DIGITS = 6  # significant; more than is measured, and short


def page_data(run: RunReading) -> str:
    """Measures and networks, best known last, so that they are drawn on top; it holds no character that could end an element.

    {"measures": [{"name", "axis", "more", "budget", "bound"}, ...],   accuracies, then the costs; `more`: more is better
     "networks": [{"role": "archive" | "front" | "finalist" | "chosen", "values": [...], "intervals": {"1": [low, high, source]},
                   "layers": [...]}, ...]}

    Values are in the units of the axes, null where they are not known.
    """
    document = {"measures": _measures(run), "networks": [_network(run, role, network) for role, network in _networks(run)]}
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)  # ASCII
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _measures(run: RunReading) -> list[dict[str, Any]]:
    budgets = {budget.objective: budget for budget in run.settings.budgets}
    found: list[dict[str, Any]] = [
        {"name": name, "axis": f"{name} (%)", "more": True, "budget": None, "bound": ""} for name in run.accuracy_names
    ]
    for name in run.cost_names:
        budget = budgets.get(name)
        found.append(
            {
                "name": name_of(name),
                "axis": axis_of(name),
                "more": False,
                "budget": None if budget is None else _rounded(scaled(name, budget.upper)),
                "bound": "" if budget is None else bound(budget),
            }
        )
    return found


def _networks(run: RunReading) -> list[tuple[str, Network]]:
    """Each network once, in its highest role."""
    found = {network.genes: ("archive", network) for network in run.archive}
    found |= {network.genes: ("front", network) for network in run.front}
    found |= {network.genes: ("finalist", network) for network in run.finalists}
    found |= {network.genes: ("chosen", network) for network in run.finalists[:1]}
    order = ("archive", "front", "finalist", "chosen")
    return sorted(found.values(), key=lambda item: order.index(item[0]))


def _network(run: RunReading, role: str, network: Network) -> dict[str, Any]:
    costs = [network.cost(name) for name in run.cost_names]
    return {
        "role": role,
        "values": [
            *map(_rounded, network.accuracies_percent),
            *(None if cost is None else _rounded(scaled(cost.name, cost.value)) for cost in costs),
        ],
        "intervals": _intervals(costs, first=len(run.accuracy_names)),
        "layers": architecture_lines(network),
    }


def _intervals(costs: Sequence[Cost | None], first: int) -> dict[int, tuple[float, float, str]]:
    return {
        place: (_rounded(cost.low), _rounded(cost.high), cost.source)
        for place, cost in enumerate(costs, start=first)
        if cost is not None and cost.source != "counted"
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
