"""Which networks to measure while the search goes on, so that the latency predictor is sure where the answer lies."""

import numpy as np
from numpy.typing import NDArray

from nat_deploy.search.archive import Evaluations
from nat_deploy.search.genes import to_gene_string
from nat_deploy.search.preference import by_preference
from nat_deploy.search.problem import SearchProblem
from nat_deploy.search.sittings import Devices
from nat_deploy.spaces import Genes

_NUM_POOL = 500


def probe_space(problem: SearchProblem, devices: Devices, rng: np.random.Generator, count: int) -> SearchProblem:
    """Measure `count` networks of the space on each device before the search: those nearest to its budget, and those that its predictor is least sure of.

    Returns:
        The problem, with predictors that know them.
    """
    for objective in devices.measure if count else ():
        pool = np.unique(problem.space.sample(rng, _NUM_POOL), axis=0)
        rows = _choose(problem, objective, pool, _nearest(problem, objective, pool), count)
        problem = devices.sit(problem, objective, pool[rows], name="before")
    return problem


def probe_archive(problem: SearchProblem, devices: Devices, archive: Evaluations, count: int, *, name: str) -> SearchProblem:
    """Measure `count` members of an archive on each device, if so many have not been: those that may be the answer, and those that its predictor is least sure of.

    Returns:
        The problem, with predictors that know them.
    """
    for objective in devices.measure if count else ():
        may_meet = np.flatnonzero(problem.certain_violation(archive.genes) == 0)
        wanted = may_meet[by_preference(problem, archive.take(may_meet))]
        rows = _choose(problem, objective, archive.genes, wanted, count)
        problem = devices.sit(problem, objective, archive.genes[rows], name=name)
    return problem


def _choose(problem: SearchProblem, objective: str, genes: Genes, wanted: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Half the rows from `wanted`, first ones first; the others by the relative width of their intervals. None that was measured already."""
    bounds = problem.bounds(objective, genes)
    unsure = np.argsort(-bounds.high / bounds.low, kind="stable")
    measured = {record.genes for _, record in problem.measurements(objective)}
    is_new = np.array([to_gene_string(row) not in measured for row in genes], dtype=np.bool_)
    first = wanted[is_new[wanted]][: (count + 1) // 2]
    others = unsure[is_new[unsure] & ~np.isin(unsure, first)]
    return np.concatenate([first, others[: count - len(first)]])


def _nearest(problem: SearchProblem, objective: str, genes: Genes) -> NDArray[np.int64]:
    """Rows by their distance from the objective's budget, nearest first; none where it has no budget."""
    upper = next((budget.upper for budget in problem.budgets if budget.objective == objective), None)
    if upper is None:
        return np.arange(0)
    return np.argsort(np.abs(np.log(problem.cost(objective)(genes) / upper)), kind="stable")
