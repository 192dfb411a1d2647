"""Is the device today as fast as when its latency table was made? A few networks measured before the search tell."""

import numpy as np

from nat_deploy.search.latency_measuring import MeasuredLatencies
from nat_deploy.search.problem import SearchProblem

_NUM_POOL = 500


def anchor_latencies(problem: SearchProblem, measuring: MeasuredLatencies, rng: np.random.Generator, count: int) -> SearchProblem:
    """Correct the latency predictors of the budgets by `count` networks measured near each budget.

    A predictor whose intervals hold at least half of the measurements is left alone: its table rests on many more measurements than
    these. Otherwise it is multiplied by the middle ratio of measurement to prediction. Without this, a predictor that is off sends the
    whole search to networks that the finalists' measurements then reject.

    Returns:
        The problem, with corrected predictors.
    """
    for budget in problem.budgets:
        name = budget.objective
        if count == 0 or name not in measuring.measure:
            continue
        pool = np.unique(problem.space.sample(rng, _NUM_POOL), axis=0)
        distance = np.abs(np.log(problem.cost(name)(pool) / budget.upper))
        anchors = pool[np.argsort(distance, kind="stable")[:count]]
        records = measuring.measured(name, anchors)
        held = [record.predicted_low_ms <= record.median_ms <= record.predicted_high_ms for record in records]
        if np.mean(held) < 0.5:
            ratio = np.median([record.median_ms / record.predicted_ms for record in records])
            problem = problem.corrected(name, float(ratio))
    return problem
