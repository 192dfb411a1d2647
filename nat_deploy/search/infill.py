"""Which candidates of the surrogate's front are worth a true evaluation."""

import numpy as np
from numpy.typing import NDArray

from nat_deploy.search.archive import Evaluations, not_among
from nat_deploy.search.survival import survive_aimed


def choose_infill(
    candidates: Evaluations,
    violation: NDArray[np.float64],
    likely_violation: NDArray[np.float64],
    archive: Evaluations,
    count: int,
    rng: np.random.Generator,
    *,
    aimed_share: float = 0.0,
) -> Evaluations:
    """At most `count` candidates that are not in the archive, by the survival rule of the archive.

    Args:
        candidates: Predicted, of the archive's supernet version, the errors among the objectives.
        violation, likely_violation: How far each candidate is over its budgets at most, and as is expected, shape `(n,)`.
        archive: What was evaluated already.
        count: Candidates wanted.
        rng: Breaks ties.
        aimed_share: Share of them that are the most accurate likely within the budgets; the others are spread over the front.
    """
    new = not_among(candidates.genes, archive.genes)
    pool = candidates.take(new)
    rows = survive_aimed(
        pool.values,
        violation[new],
        likely_violation[new],
        count,
        rng,
        aimed_share=aimed_share,
        aim=pool.mean_error_percent,
    )
    return pool.take(rows)
