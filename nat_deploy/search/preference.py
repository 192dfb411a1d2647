"""In which order networks are wanted as the answer."""

import numpy as np
from numpy.typing import NDArray

from nat_deploy.search.archive import Evaluations
from nat_deploy.search.objective import ERROR
from nat_deploy.search.pareto import non_dominated_ranks
from nat_deploy.search.problem import SearchProblem


def by_preference(problem: SearchProblem, archive: Evaluations) -> NDArray[np.int64]:
    """Rows in the order they are wanted: first the front of error against the costs that have a budget, most accurate first; then the front of the rest, and so on."""
    costs = [problem.cost(budget.objective)(archive.genes) for budget in problem.budgets]
    error = archive.column(ERROR)
    ranks = non_dominated_ranks(np.stack([error, *costs], axis=1)) if costs else archive.ranks()
    return np.lexsort((error, ranks))
