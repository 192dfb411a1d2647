"""The answer of a run in a few large figures."""

from collections.abc import Iterator
from dataclasses import dataclass

from nat_deploy.report.network import Cost, Network
from nat_deploy.report.reading import RunReading
from nat_deploy.report.wording import accuracy, figure, milliseconds, name_of
from nat_deploy.search import Budget
from nat_deploy.search.objective import COUNTED


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFigure:
    """`good` says whether a budget is kept, None where there is none."""

    label: str
    value: str
    remark: str
    good: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    sentence: str
    figures: tuple[KeyFigure, ...]


def headline(run: RunReading, chosen: Network) -> Headline:
    """The chosen network in one sentence and in figures."""
    kept = chosen.meets(run.settings.budgets)
    budgets = " and ".join(
        f"{name_of(b.objective).lower()} of at most {figure(b.objective, b.upper)}" for b in run.settings.budgets
    )
    if not run.settings.budgets:
        bound = "There was no budget."
    elif kept is None:
        bound = f"Whether it keeps the budget ({budgets}) is not known."
    else:
        bound = f"It {'keeps' if kept else 'does NOT keep'} the budget: {budgets}."
    return Headline(
        sentence=f"The most accurate network found is right on {accuracy(chosen)} of the validation images. {bound}",
        figures=tuple(_figures(run, chosen)),
    )


def _figures(run: RunReading, chosen: Network) -> Iterator[KeyFigure]:
    yield KeyFigure(label="Top-1 accuracy", value=accuracy(chosen), remark="validation images, supernet weights")
    budgets = {budget.objective: budget for budget in run.settings.budgets}
    order = {name: place for place, name in enumerate(COUNTED, start=1)}  # latencies before counted costs
    for cost in sorted(chosen.costs, key=lambda cost: order.get(cost.name, 0)):
        budget = budgets.get(cost.name)
        good = None if budget is None else cost.meets(budget)
        yield KeyFigure(label=name_of(cost.name), value=figure(cost.name, cost.value), remark=_remark(cost, budget), good=good)


def _remark(cost: Cost, budget: Budget | None) -> str:
    interval = "" if cost.source == "counted" else f"{cost.source}, {milliseconds(cost.low)} to {milliseconds(cost.high)} ms"
    bound = "" if budget is None else f"budget {figure(budget.objective, budget.upper)}"
    return "; ".join(part for part in (interval, bound) if part)
