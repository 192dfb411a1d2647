"""Which candidates of the surrogate's front are worth a true evaluation."""

import numpy as np
from numpy.typing import NDArray

from nat_deploy.search.archive import Evaluations, not_among
from nat_deploy.search.improvement import MOST_OBJECTIVES, choose_by_improvement
from nat_deploy.search.survival import most_likely, survive


def choose_infill(
    candidates: Evaluations,
    spread: NDArray[np.float64],
    violation: NDArray[np.float64],
    likely_violation: NDArray[np.float64],
    archive: Evaluations,
    reference: NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
    *,
    aimed_share: float = 0.0,
) -> Evaluations:
    """At most `count` candidates that are not in the archive.

    Besides those that aim at the answer under the budgets, the ones that surely keep them and are expected to add most to the hypervolume
    of the archive. Where too few of them add any, or the objectives are too many to tell, the survival rule chooses.

    Args:
        candidates: Predicted, of the archive's supernet version, the errors among the objectives.
        spread: Standard deviations of the predictions, 0 for objectives that are known, shape `(n, m)`.
        violation, likely_violation: How far each candidate is over its budgets at most, and as is expected, shape `(n,)`.
        archive: What was evaluated already.
        reference: Corner of the hypervolume, shape `(m,)`.
        count: Candidates wanted.
        rng: Breaks ties.
        aimed_share: Share of them that are the most accurate likely within the budgets.
    """
    rows = np.flatnonzero(not_among(candidates.genes, archive.genes))
    count = min(count, len(rows))
    values = candidates.values
    chosen = rows[most_likely(candidates.mean_error_percent[rows], likely_violation[rows], int(aimed_share * count))]
    if len(reference) <= MOST_OBJECTIVES:
        rows = np.setdiff1d(rows, chosen)
        within = rows[violation[rows] == 0]
        known = np.concatenate([archive.values, values[chosen]])
        improving = choose_by_improvement(values[within], spread[within], known, reference, count - len(chosen))
        chosen = np.concatenate([chosen, within[improving]])
    rows = np.setdiff1d(rows, chosen)
    filling = rows[survive(values[rows], violation[rows], count - len(chosen), rng)]
    return candidates.take(np.sort(np.concatenate([chosen, filling])))
