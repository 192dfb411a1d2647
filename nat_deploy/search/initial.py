"""The first architectures to evaluate."""

import numpy as np

from nat_deploy.search.archive import not_among
from nat_deploy.search.problem import SearchProblem
from nat_deploy.spaces import Genes

_POOL_FACTOR = 20


def sample_initial_archive(problem: SearchProblem, count: int, rng: np.random.Generator) -> Genes:
    """Both extremes of the space and balanced-depth samples, three of four within the budgets where the space allows it.

    Balanced-depth samples crowd in the middle of the space, where a small budget finds none of them. So half of the pool is drawn
    towards the smallest architecture by a random degree, and the chosen ones are spread evenly over MACs.

    Returns:
        At most `count` different canonical gene strings; fewer only if the space has no more.
    """
    space = problem.space
    ends = np.stack([space.encode(space.smallest()), space.encode(space.largest())])
    pool = space.sample(rng, _POOL_FACTOR * count)
    shrink = rng.random(pool.shape) < np.where(np.arange(len(pool)) % 2 == 0, rng.random(len(pool)), 0.0)[:, None]
    pool = space.repair(np.where(shrink, ends[0], pool))
    pool = pool[not_among(pool, ends)]
    within = problem.violation(pool) == 0
    inside = _spread(problem, pool[within], count=(count - len(ends)) * 3 // 4)
    others = pool[not_among(pool, inside)]
    return np.concatenate([ends, inside, others[: count - len(ends) - len(inside)]])


def _spread(problem: SearchProblem, pool: Genes, count: int) -> Genes:
    ordered = pool[np.argsort(problem.space.count(pool).macs, kind="stable")]
    if len(ordered) <= count:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, count).round().astype(np.int64)]
