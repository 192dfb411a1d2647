"""Who stays: environmental selection of NSGA-II (two objectives) and NSGA-III (more), applied to any pool."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

_DIRECTION_COUNTS = (10, 20, 50, 100)  # few different ones: spreading energy directions costs a second or two, once per number


@cache
def reference_directions(num_objectives: int, count: int) -> NDArray[np.float64]:
    """About evenly spread directions in the unit simplex, shape `(count, num_objectives)`: Riesz s-energy for three and more objectives.

    Source: Blank, Deb et al., Generating Well-Spaced Points on a Unit Simplex (IEEE TEVC 2021).
    """
    if num_objectives == 1:
        return np.ones((1, 1))
    if num_objectives == 2:
        steps = np.linspace(0.0, 1.0, count)
        return np.stack([steps, 1.0 - steps], axis=1)
    from pymoo.util.ref_dirs import get_reference_directions

    return np.asarray(get_reference_directions("energy", num_objectives, max(count, num_objectives), seed=1))


def _directions_for(num_objectives: int, count: int) -> NDArray[np.float64]:
    """At most as many directions as survivors, so that each direction gets one."""
    if num_objectives <= 2:
        return reference_directions(num_objectives, max(count, 2))
    return reference_directions(num_objectives, max([n for n in _DIRECTION_COUNTS if n <= count], default=_DIRECTION_COUNTS[0]))


def survive(
    values: NDArray[np.float64], violation: NDArray[np.float64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose `count` rows by reference-direction survival.

    Args:
        values: Objectives, minimised, shape `(n, m)`.
        violation: How far each row is over its budgets, 0 if within, shape `(n,)`. Rows within the budgets go first.
        count: Rows wanted; all are returned if there are no more.
        rng: Breaks ties.

    Returns:
        Rising row numbers, shape `(min(n, count),)`.
    """
    if count == 0 or len(values) <= count:
        return np.arange(min(count, len(values)))
    from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem

    pool = Population.new(F=values, G=violation[:, None])
    directions = _directions_for(values.shape[1], count)
    problem = Problem(n_var=1, n_obj=values.shape[1], n_ieq_constr=1)
    rows = ReferenceDirectionSurvival(directions).do(problem, pool, n_survive=count, return_indices=True, random_state=rng)
    return np.sort(np.array(rows, dtype=np.int64))


def survive_aimed(
    values: NDArray[np.float64],
    violation: NDArray[np.float64],
    likely_violation: NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
    *,
    aimed_share: float,
    aim: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Choose `count` rows: a share of them by what the answer is to be smallest in, the others by reference-direction survival.

    Under a budget the answer is one corner of the front: the most accurate network that just fits. Survival for the whole front would
    leave few rows there, and may drop the best. Whether a row fits is not known before it is measured. Rows that aim at the answer
    are held to what is likely, since those that surely fit lie an interval's width away from it; the others are held to what is sure,
    so that something fits whatever the measurements say.

    Args:
        values, count, rng: As for `survive`.
        violation: By how much each row may at most be over its budgets.
        likely_violation: By how much it is expected to be.
        aimed_share: From 0 to 1, of `count`; those rows are the smallest in `aim` among those likely within the budgets.
        aim: Shape `(n,)`, by default the first objective.
    """
    aimed = most_likely(values[:, 0] if aim is None else aim, likely_violation, int(aimed_share * min(count, len(values))))
    others = np.setdiff1d(np.arange(len(values)), aimed)
    spread = others[survive(values[others], violation[others], count - len(aimed), rng)]
    return np.sort(np.concatenate([aimed, spread]))


def most_likely(aim: NDArray[np.float64], likely_violation: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The `count` rows smallest in `aim` among those likely within the budgets, then those least over them."""
    return np.lexsort((aim, likely_violation))[:count]
