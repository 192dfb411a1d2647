"""The answer: networks that were measured together, in one last sitting on each device, and meet every budget there with their intervals.

A prediction may be wrong, and the front is full of networks whose prediction only just fits: the optimum of a search is where a
predictor is most too low. So the best candidates are measured, the predictors learn from it, and those that turn out to be over a
budget give way to the next best. Budgets are held against the median latency: it is what people mean by a latency and what other
tools print, and the predictors of a search are fitted on it.

While candidates are found, they have the benefit of the doubt: a quick measurement counts by its middle, a prediction by its lower end.
A measurement soon shows which of them are over, and costs less than passing the best network by. Only the last sitting decides, and
there the whole interval must keep the budget; how wide intervals are on this device is known after the first exact sitting.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nat_deploy.search.archive import Evaluations
from nat_deploy.search.feasibility import measure_smallest
from nat_deploy.search.genes import to_gene_string
from nat_deploy.search.preference import by_preference
from nat_deploy.search.problem import SearchProblem
from nat_deploy.search.records import FinalistRecord, PredictionRecord
from nat_deploy.search.sittings import Devices
from nat_deploy.spaces import Genes

Reevaluate = Callable[[Genes], Evaluations]
"""Evaluates more architectures with the weights of the archive."""

OnMeasured = Callable[[int, int], None]


def choose_finalists(
    problem: SearchProblem,
    archive: Evaluations,
    devices: Devices,
    evaluate: Reevaluate,
    rng: np.random.Generator,
    *,
    count: int,
    max_rounds: int,
    on_measured: OnMeasured = lambda done, total: None,
) -> tuple[SearchProblem, tuple[FinalistRecord, ...]]:
    """Find `count` networks that meet the budgets, and measure them together.

    A round measures wanted candidates quickly until all that are wanted have been measured, then all of them exactly and together.
    It is the last round if all of them keep the budgets then.

    Args:
        problem: Budgets and latency predictors.
        archive: Candidates, all of one supernet version.
        devices: A device that cannot measure is trusted to its predictor's interval.
        evaluate: Gives the errors of the smallest architecture, should no candidate meet the budgets.
        rng: For the search of the smallest architecture.
        count: Networks wanted.
        max_rounds: Exact sittings at most, and quick ones; what meets the budgets by then is returned.
        on_measured: Told how many of the wanted networks are measured.

    Returns:
        The problem with all that was measured, and between 1 and `count` finalists, most accurate first.

    Raises:
        BudgetError: Not even the smallest architecture meets a budget on its device.
    """
    accepted, num_quick = np.arange(0), 0
    for number in range(1, max_rounds + 1):
        wanted = _wanted(problem, archive, devices, count)
        while num_quick < max_rounds and len(missing := _unmeasured(problem, archive, devices, wanted)):
            num_quick += 1
            on_measured(len(wanted) - len(missing), len(wanted))
            problem = devices.sit_on_all(problem, archive.genes[missing], name=f"candidates-{num_quick:03}")
            wanted = _wanted(problem, archive, devices, count)
        if not len(wanted):
            accepted = wanted
            break
        on_measured(len(wanted), len(wanted))
        problem = devices.sit_on_all(problem, archive.genes[wanted], name=f"finalists-{number:03}", exact=True)
        accepted = wanted[_meets(problem, archive.genes[wanted], devices)]
        if len(accepted) == len(wanted):
            break
    if not len(accepted):
        problem, smallest = measure_smallest(problem, devices, rng, name="smallest-finalists")
        return problem, _finalists(problem, devices, evaluate(smallest))[:1]
    return problem, _finalists(problem, devices, archive.take(accepted))


def _wanted(problem: SearchProblem, archive: Evaluations, devices: Devices, count: int) -> NDArray[np.int64]:
    """Rows of the `count` best candidates that meet the budgets as far as is known."""
    rows = np.flatnonzero(_meets(problem, archive.genes, devices))
    return rows[by_preference(problem, archive.take(rows))][:count]


def _meets(problem: SearchProblem, genes: Genes, devices: Devices) -> NDArray[np.bool_]:
    """Whether each meets all budgets as far as is known, shape `(n,)`: surely where it was measured exactly or cannot be measured, else perhaps."""
    meets = np.ones(len(genes), dtype=np.bool_)
    for budget in problem.budgets:
        if budget.objective in devices.measure:
            held = _hoped_ms(problem, budget.objective, genes)
        else:
            held = problem.upper_bound(budget.objective)(genes)
        meets &= held <= budget.upper
    return meets


def _hoped_ms(problem: SearchProblem, objective: str, genes: Genes) -> NDArray[np.float64]:
    """The upper end of each network's interval in an exact sitting: as measured there, or the least that may be hoped for, shape `(n,)`."""
    records = list(problem.measurements(objective))
    exact = {record.genes: record.high_ms for sitting, record in records if sitting.exact}
    width = float(np.median([record.high_ms / record.median_ms for sitting, record in records if sitting.exact] or [1.0]))
    known = {record.genes: width * record.median_ms for sitting, record in records if not sitting.exact} | exact
    least = width * problem.bounds(objective, genes).low
    return np.array([known.get(to_gene_string(row), ms) for row, ms in zip(genes, least, strict=True)])


def _unmeasured(problem: SearchProblem, archive: Evaluations, devices: Devices, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the rows that some device has not measured."""
    known = [{record.genes for _, record in problem.measurements(objective)} for objective in devices.measure]
    missing = [any(to_gene_string(archive.genes[row]) not in genes for genes in known) for row in rows]
    return rows[np.array(missing, dtype=np.bool_)]


def _finalists(problem: SearchProblem, devices: Devices, chosen: Evaluations) -> tuple[FinalistRecord, ...]:
    """What is known of networks that were measured exactly, most accurate first, or as they come where weights decide."""
    measured = [
        {record.genes: record for sitting, record in problem.measurements(objective) if sitting.exact}
        for objective in devices.measure
    ]
    predicted = [_predict(problem, name, chosen.genes) for name in problem.latency if name not in devices.measure]
    finalists = [
        FinalistRecord(
            genes=(string := to_gene_string(row)),
            errors_percent=tuple(map(float, errors)),
            latencies=tuple(records[string] for records in measured),
            predicted=tuple(records[index] for records in predicted),
        )
        for index, (row, errors) in enumerate(zip(chosen.genes, chosen.errors_percent, strict=True))
    ]
    return tuple(finalists if problem.weights else sorted(finalists, key=lambda finalist: finalist.error_percent))


def _predict(problem: SearchProblem, name: str, genes: Genes) -> list[PredictionRecord]:
    found, target = problem.latency[name].predict(genes), problem.latency[name].target.key
    return [
        PredictionRecord(
            objective=name, target=target, predicted_ms=float(value), predicted_low_ms=float(low), predicted_high_ms=float(high)
        )
        for value, low, high in zip(found.value, found.low, found.high, strict=True)
    ]
