"""The answer of a run in a few large figures."""

from collections.abc import Iterator
from dataclasses import dataclass

from nat_deploy.report.network import Cost, Network
from nat_deploy.report.reading import RunReading
from nat_deploy.report.wording import accuracy, bound, figure, milliseconds, name_of
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
    budgets = " and ".join(f"{_in_sentence(name_of(b.objective))} of at most {bound(b)}" for b in run.settings.budgets)
    if not run.settings.budgets:
        verdict = "There was no budget."
    elif kept is None:
        verdict = f"Whether it keeps the budget ({budgets}) is not known."
    else:
        verdict = f"It {'keeps' if kept else 'does NOT keep'} the budget: {budgets}."
    return Headline(
        sentence=f"The most accurate network found is right on {accuracy(chosen)} of the validation images. {verdict}",
        figures=tuple(_figures(run, chosen)),
    )


def _figures(run: RunReading, chosen: Network) -> Iterator[KeyFigure]:
    yield KeyFigure(label="Top-1 accuracy", value=accuracy(chosen), remark="validation images, supernet weights")
    if run.test is not None:
        yield KeyFigure(
            label="On test images",
            value=f"{run.test.top1_percent:.2f} %",
            remark=f"{run.test.num_images} images that no choice looked at",
        )
    budgets = {budget.objective: budget for budget in run.settings.budgets}
    order = {name: place for place, name in enumerate(COUNTED, start=1)}  # latencies before counted costs
    for cost in sorted(chosen.costs, key=lambda cost: order.get(cost.name, 0)):
        budget = budgets.get(cost.name)
        good = None if budget is None else cost.meets(budget)
        yield KeyFigure(label=name_of(cost.name), value=figure(cost.name, cost.value), remark=_remark(cost, budget), good=good)


def _in_sentence(name: str) -> str:
    """A name without its capital, unless it is an abbreviation; names of devices stay as they are."""
    return name if name[:2].isupper() else name[:1].lower() + name[1:]


def _remark(cost: Cost, budget: Budget | None) -> str:
    interval = "" if cost.source == "counted" else f"{cost.source}, {milliseconds(cost.low)} to {milliseconds(cost.high)} ms"
    allowed = "" if budget is None else f"budget {bound(budget)}"
    return "; ".join(part for part in (interval, allowed) if part)
