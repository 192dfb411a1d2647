"""The answer of a run in a few large figures."""

from collections.abc import Iterator
from dataclasses import dataclass

from nat_deploy.report.network import Cost, Network
from nat_deploy.report.reading import RunReading
from nat_deploy.report.wording import accuracy, bound, data_of, figure, milliseconds, name_of, percent
from nat_deploy.search import LATENCY, Budget
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
    """`answer` says whether the budgets are met, `sentence` how good the network is."""

    answer: str
    sentence: str
    figures: tuple[KeyFigure, ...]


def headline(run: RunReading) -> Headline | None:
    """The chosen network in two sentences and in figures; None while none is chosen."""
    chosen = run.chosen
    if chosen is None:
        return None
    return Headline(
        answer=_answer(run, chosen),
        sentence=f"It is the most accurate {'that keeps every budget' if run.settings.budgets else 'one'} of the networks found: "
        f"right on {_right_on(run, chosen)}.",
        figures=tuple(_figures(run, chosen)),
    )


def _answer(run: RunReading, chosen: Network) -> str:
    """ "This network meets 20 ms: measured 18.4 (18.1 to 18.7) ms." """
    if not run.settings.budgets:
        return f"This network is right on {_right_on(run, chosen)}."
    kept = chosen.meets(run.settings.budgets)
    verb = {True: "meets", False: "does NOT meet", None: "may or may not meet"}[kept]
    return f"This network {verb} {' and '.join(_held(chosen, budget) for budget in run.settings.budgets)}."


def _right_on(run: RunReading, chosen: Network) -> str:
    """ "80.00 % of the validation images (flowers 85.00 %, digits 75.00 %)" """
    errors = run.settings.errors
    each = [f"{data_of(name)} {percent(100 - error)}" for name, error in zip(errors, chosen.errors_percent, strict=True)]
    of_each = f" ({', '.join(each)})" if len(each) > 1 else ""
    return f"{accuracy(chosen)} of the validation images{of_each}"


def _held(chosen: Network, budget: Budget) -> str:
    """A budget beside what the network needs of it."""
    cost, name = chosen.cost(budget.objective), _in_sentence(name_of(budget.objective))
    asked = bound(budget) if budget.objective == LATENCY else f"{bound(budget)} of {name}"
    if cost is None:
        return f"{asked}: not known"
    if cost.source == "counted":
        return f"{asked}: {figure(cost.name, cost.value)}"
    return f"{asked}: {cost.source} {milliseconds(cost.value)} ({milliseconds(cost.low)} to {milliseconds(cost.high)}) ms"


def _figures(run: RunReading, chosen: Network) -> Iterator[KeyFigure]:
    for name, value in zip(run.accuracy_names, chosen.accuracies_percent, strict=True):
        yield KeyFigure(label=name, value=percent(value), remark="validation images, supernet weights")
    for test in run.tests:
        yield KeyFigure(
            label="On test images" if len(run.settings.errors) == 1 else f"On test images of {test.data}",
            value=percent(test.top1_percent),
            remark=f"{test.num_images} images that no choice looked at",
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
