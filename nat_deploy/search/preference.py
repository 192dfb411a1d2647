"""In which order networks are wanted as the answer."""

import numpy as np
from numpy.typing import NDArray

from nat_deploy.search.archive import Evaluations
from nat_deploy.search.objective import is_error
from nat_deploy.search.pareto import non_dominated_ranks
from nat_deploy.search.problem import SearchProblem


def by_preference(problem: SearchProblem, archive: Evaluations) -> NDArray[np.int64]:
    """Rows in the order they are wanted.

    Without weights: first the front of the mean error over the data sets against the costs that have a budget, most accurate first; then the front of the
    rest, and so on. With weights: by their sum over the objectives, each on a scale from its least to its greatest value on the front of these objectives. With equal weights
    the first is the knee, the point furthest towards the origin from the plane through the ends of the front (Das, Structural Optimization 18, 1999).
    """
    if not len(archive.genes):
        return np.empty(0, dtype=np.int64)
    if problem.weights:
        return np.argsort(_weighted_sums(problem, archive), kind="stable")
    if problem.budgets:
        ranks = non_dominated_ranks(problem.aimed_values(archive.genes, archive.errors_percent))
    else:
        ranks = archive.ranks()
    return np.lexsort((archive.mean_error_percent, ranks))


def _weighted_sums(problem: SearchProblem, archive: Evaluations) -> NDArray[np.float64]:
    columns = [
        archive.column(w.objective) if is_error(w.objective) else problem.cost(w.objective)(archive.genes)
        for w in problem.weights
    ]
    values = np.stack(columns, axis=1)
    front = values[non_dominated_ranks(values) == 0]
    low, spread = front.min(axis=0), np.ptp(front, axis=0)
    scaled = (values - low) / np.where(spread > 0, spread, 1.0)
    return np.asarray(scaled @ np.array([w.weight for w in problem.weights]))
