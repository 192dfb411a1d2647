"""The answer: networks of the front that were measured on the device and meet the budget there.

A prediction may be wrong, and the front is full of networks whose prediction only just fits. So the best candidates are measured,
the predictor is corrected by what came out, those over the budget are replaced, and this goes on until everything to be returned
was measured.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import BudgetError
from nat_deploy.search.archive import Evaluations
from nat_deploy.search.budget import find_smallest
from nat_deploy.search.feasibility import budget_error, with_smallest
from nat_deploy.search.latency_measuring import MeasuredLatencies, to_gene_string
from nat_deploy.search.objective import ERROR
from nat_deploy.search.pareto import non_dominated_ranks
from nat_deploy.search.problem import SearchProblem
from nat_deploy.search.run_folder import FinalistRecord, MeasurementRecord
from nat_deploy.spaces import Genes

Reevaluate = Callable[[Genes], Evaluations]
"""Evaluates more architectures with the weights of the archive."""

OnMeasured = Callable[[int, int], None]


def choose_finalists(
    problem: SearchProblem,
    archive: Evaluations,
    measuring: MeasuredLatencies,
    evaluate: Reevaluate,
    rng: np.random.Generator,
    *,
    count: int,
    max_rounds: int,
    on_measured: OnMeasured = lambda done, total: None,
) -> tuple[FinalistRecord, ...]:
    """Measure and replace until `count` networks meet the budgets.

    In each round the best `count` candidates that are believed to meet the budgets are wanted: by their measurement if they have
    one, else by their corrected prediction. The round measures those not measured yet; when there are none, the wanted ones are
    the answer.

    Args:
        problem: Budgets and latency predictors.
        archive: Candidates, all of one supernet version.
        measuring: The devices. Without any, candidates are taken by their predictions.
        evaluate: Gives the error of the smallest architecture, should no candidate meet the budgets.
        rng: For the search of the smallest architecture.
        count: Networks wanted.
        max_rounds: Rounds at most; what meets the budgets by then is returned.
        on_measured: Told how many of the wanted networks are measured.

    Returns:
        Between 1 and `count` finalists, most accurate first.

    Raises:
        BudgetError: Not even the smallest architecture meets a budget on its device.
    """
    order = _by_preference(problem, archive)
    for _ in range(max_rounds):
        beliefs = _believe(problem, archive.genes, measuring)
        wanted = order[beliefs.meets[order]][:count]
        missing = wanted[~beliefs.measured[wanted]]
        on_measured(len(wanted) - len(missing), max(len(wanted), 1))
        if not len(missing):
            break
        for objective in measuring.measure:
            measuring.measured(objective, archive.genes[missing])
    beliefs = _believe(problem, archive.genes, measuring)
    accepted = order[(beliefs.meets & beliefs.measured)[order]][:count]
    if not len(accepted):
        return (_smallest(problem, measuring, evaluate, rng),)
    return _finalists(archive.take(accepted), measuring)


def _by_preference(problem: SearchProblem, archive: Evaluations) -> NDArray[np.int64]:
    """Rows in the order they are wanted: first the front of error against the costs that have a budget, most accurate first; then the front of the rest, and so on."""
    costs = [problem.cost(budget.objective)(archive.genes) for budget in problem.budgets]
    error = archive.column(ERROR)
    ranks = non_dominated_ranks(np.stack([error, *costs], axis=1)) if costs else archive.ranks()
    return np.lexsort((error, ranks))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beliefs:
    """Of each candidate, shape `(n,)`: whether it meets all budgets as far as is known, and whether everything about it is measured."""

    meets: NDArray[np.bool_]
    measured: NDArray[np.bool_]


def _believe(problem: SearchProblem, genes: Genes, measuring: MeasuredLatencies) -> _Beliefs:
    meets = np.ones(len(genes), dtype=np.bool_)
    measured = np.ones(len(genes), dtype=np.bool_)
    strings = [to_gene_string(row) for row in genes]
    known = {objective: measuring.known(objective) for objective in measuring.measure}
    for records in known.values():
        measured &= np.array([string in records for string in strings])
    for budget in problem.budgets:
        if budget.objective in known:
            measurements = known[budget.objective]
            upper = problem.cost(budget.objective)(genes) * _correction(list(measurements.values()), problem, budget.objective)
            for index, string in enumerate(strings):
                upper[index] = measurements[string].high_ms if string in measurements else upper[index]
        else:
            upper = problem.upper_bound(budget.objective)(genes)
        meets &= upper <= budget.upper
    return _Beliefs(meets=meets, measured=measured)


def _correction(records: list[MeasurementRecord], problem: SearchProblem, objective: str) -> float:
    """Middle ratio of measured upper ends to predictions; 1 before anything is measured."""
    if not records:
        return 1.0
    predicted = problem.cost(objective)(np.array([record.genes for record in records], dtype=np.int64))
    return float(np.median(np.array([record.high_ms for record in records]) / predicted))


def _smallest(
    problem: SearchProblem, measuring: MeasuredLatencies, evaluate: Reevaluate, rng: np.random.Generator
) -> FinalistRecord:
    """The last resort: the smallest architectures, measured."""
    genes = with_smallest(problem, find_smallest(problem.space, lambda g: _strain(problem, g), rng)[0])
    for objective in measuring.measure:
        measuring.measured(objective, genes)
    meets = _believe(problem, genes, measuring).meets
    if meets.any():
        return _finalists(evaluate(genes[meets]), measuring)[0]
    for budget in problem.budgets:
        if budget.objective in measuring.measure:
            reached = min(record.high_ms for record in measuring.measured(budget.objective, genes))
            if reached > budget.upper:
                raise budget_error(problem, budget, reached, how="measured")
    raise BudgetError(
        f"no architecture of '{problem.space.name}' was found that meets {' and '.join(map(str, problem.budgets))} together; "
        "raise one of them"
    )


def _strain(problem: SearchProblem, genes: Genes) -> NDArray[np.float64]:
    shares = [problem.cost(budget.objective)(genes) / budget.upper for budget in problem.budgets]
    return np.max(shares, axis=0) if shares else np.zeros(len(genes))


def _finalists(chosen: Evaluations, measuring: MeasuredLatencies) -> tuple[FinalistRecord, ...]:
    latencies = [measuring.measured(objective, chosen.genes) for objective in measuring.measure]
    finalists = [
        FinalistRecord(
            genes=to_gene_string(row), error_percent=float(error), latencies=tuple(records[index] for records in latencies)
        )
        for index, (row, error) in enumerate(zip(chosen.genes, chosen.column(ERROR), strict=True))
    ]
    return tuple(sorted(finalists, key=lambda finalist: finalist.error_percent))
