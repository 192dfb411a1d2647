"""Whether the budgets can be met at all, asked before any time is spent on the search."""

import numpy as np

from nat_deploy.errors import BudgetError
from nat_deploy.search.archive import not_among
from nat_deploy.search.budget import Budget, find_smallest
from nat_deploy.search.latency_measuring import MeasuredLatencies
from nat_deploy.search.objective import make_objective
from nat_deploy.search.problem import SearchProblem
from nat_deploy.spaces import Genes

_RELATIVE_TOLERANCE = 1e-9


def check_budgets(problem: SearchProblem, measuring: MeasuredLatencies, rng: np.random.Generator) -> SearchProblem:
    """Make sure that some architecture can meet the budgets.

    Where a latency predictor says that none can, the smallest architectures are measured: the device has the last word. If one meets
    the budget after all, the predictor is corrected by that ratio.

    Returns:
        The problem, with its latency predictors corrected where measurement demanded it.

    Raises:
        BudgetError: No architecture meets them; the sentence gives the smallest reachable value.
    """
    for budget in problem.budgets:
        genes, least = find_smallest(problem.space, problem.upper_bound(budget.objective), rng)
        if least <= budget.upper:
            continue
        if budget.objective not in measuring.measure:
            raise budget_error(problem, budget, least, how="counted" if budget.objective not in problem.latency else "predicted")
        reached = min(record.high_ms for record in measuring.measured(budget.objective, with_smallest(problem, genes)))
        if reached > budget.upper:
            raise budget_error(problem, budget, reached, how="measured")
        problem = problem.corrected(budget.objective, budget.upper / least * (1 - _RELATIVE_TOLERANCE))
    _, excess = find_smallest(problem.space, problem.violation, rng)
    if excess > 0:
        raise BudgetError(
            f"no architecture of '{problem.space.name}' meets {' and '.join(map(str, problem.budgets))} together, though each alone can be met; raise one of them"
        )
    return problem


def with_smallest(problem: SearchProblem, genes: Genes) -> Genes:
    """These and the smallest architecture of the space, in case a predictor is wrong about which is the fastest."""
    smallest = problem.space.encode(problem.space.smallest())[None]
    return np.concatenate([smallest, genes[not_among(genes, smallest)]])


def budget_error(problem: SearchProblem, budget: Budget, least: float, *, how: str) -> BudgetError:
    """The sentence when nothing meets a budget; `least` is the smallest reachable value, `how` says where it comes from."""
    source = problem.latency.get(budget.objective)
    where = f" on '{source.target.key}'" if source else ""
    return BudgetError(
        f"no architecture of '{problem.space.name}' meets {budget}{where}: the smallest reachable value is {least:.4g} {make_objective(budget.objective).unit} ({how}); raise the budget to at least that"
    )
