"""Whether the budgets can be met at all, asked before any time is spent on the search."""

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import BudgetError
from nat_deploy.search.archive import not_among
from nat_deploy.search.budget import Budget, find_smallest
from nat_deploy.search.genes import to_gene_string
from nat_deploy.search.objective import make_objective
from nat_deploy.search.problem import SearchProblem
from nat_deploy.search.sittings import Devices
from nat_deploy.spaces import Genes


def check_budgets(problem: SearchProblem, devices: Devices, rng: np.random.Generator) -> SearchProblem:
    """Make sure that some architecture can meet the budgets.

    Where latency predictors say that none can, the smallest architectures are measured: the devices have the last word.

    Returns:
        The problem, with predictors that know what was measured.

    Raises:
        BudgetError: No architecture meets them; the sentence gives the smallest reachable value.
    """
    for budget in problem.budgets:
        if budget.objective not in devices.measure:
            _, least = find_smallest(problem.space, problem.upper_bound(budget.objective), rng)
            if least > budget.upper:
                raise _budget_error(problem, budget, least, devices)
    _, excess = find_smallest(problem.space, problem.violation, rng)
    if excess == 0:
        return problem
    return measure_smallest(problem, devices, rng, name="smallest")[0]


def measure_smallest(
    problem: SearchProblem, devices: Devices, rng: np.random.Generator, *, name: str
) -> tuple[SearchProblem, Genes]:
    """The last resort: measure the architectures that are smallest in any budget, and the smallest of the space.

    Returns:
        The problem, and those of them that meet all budgets, `(n, num_genes)` with `n >= 1`.

    Raises:
        BudgetError: None does; the sentence says how close they come.
    """
    smallest = [problem.space.encode(problem.space.smallest())[None]]
    smallest += [find_smallest(problem.space, problem.upper_bound(budget.objective), rng)[0] for budget in problem.budgets]
    smallest.append(find_smallest(problem.space, problem.violation, rng)[0])
    genes = np.concatenate(smallest)
    genes = genes[not_among(genes, genes[:0])]
    problem = devices.sit_on_all(problem, genes, name=name, exact=True)
    reached = {budget.objective: _upper_ends(problem, budget.objective, genes, devices) for budget in problem.budgets}
    meets = np.all([reached[budget.objective] <= budget.upper for budget in problem.budgets], axis=0)
    if meets.any():
        return problem, genes[meets]
    for budget in problem.budgets:
        if reached[budget.objective].min() > budget.upper:
            raise _budget_error(problem, budget, float(reached[budget.objective].min()), devices)
    raise BudgetError(
        f"no architecture of '{problem.space.name}' was found that meets {' and '.join(map(str, problem.budgets))} together, though each alone can be met; raise one of them"
    )


def _upper_ends(problem: SearchProblem, objective: str, genes: Genes, devices: Devices) -> NDArray[np.float64]:
    if objective not in devices.measure:
        return problem.upper_bound(objective)(genes)
    newest = {record.genes: record.high_ms for _, record in problem.measurements(objective)}
    return np.array([newest[to_gene_string(row)] for row in genes])


def _budget_error(problem: SearchProblem, budget: Budget, least: float, devices: Devices) -> BudgetError:
    name = budget.objective
    how = "measured" if name in devices.measure else "predicted" if name in problem.latency else "counted"
    where = f" on '{problem.latency[name].target.key}'" if name in problem.latency else ""
    return BudgetError(
        f"no architecture of '{problem.space.name}' meets {budget}{where}: the smallest reachable value is {least:.4g} {make_objective(name).unit} ({how}); raise the budget to at least that"
    )
