"""What a candidate would add to the hypervolume, as is expected of values that are only predicted."""

import numpy as np
from numpy.typing import NDArray

from nat_deploy.search.pareto import hypervolume, non_dominated

MOST_OBJECTIVES = 4  # beyond, exact hypervolumes take too long to be asked thousands of times

_FIFTHS = (-1.3998, -0.5319, 0.0, 0.5319, 1.3998)  # means of the five equally likely parts of a standard normal


def choose_by_improvement(
    values: NDArray[np.float64],
    spread: NDArray[np.float64],
    known: NDArray[np.float64],
    reference: NDArray[np.float64],
    count: int,
) -> NDArray[np.int64]:
    """Row after row, the one that is expected to add the most hypervolume to what is known and to the rows before it.

    A row's values are taken as normal and as rising and falling together, and five points stand for the whole of them. A row that
    was taken counts as known with its predicted values: so the next ones lie elsewhere, or hope for more. What a row adds hardly
    ever rises as more is known, so most rows need not be asked again (lazy greedy).

    Args:
        values: Predicted objectives, minimised, shape `(n, m)`.
        spread: Standard deviations of the predictions, 0 where values are certain, shape `(n, m)`.
        known: Measured objectives, shape `(k, m)`.
        reference: Corner of the hypervolume, shape `(m,)`.
        count: Rows wanted.

    Returns:
        Rows, at most `count`: fewer if no others can be expected to add anything.

    Source: expected hypervolume improvement, Emmerich, Giannakoglou and Naujoks (IEEE TEVC 10, 2006); taking predictions for
        measured, Ginsbourger et al., Kriging is well-suited to parallelize optimization (2010); lazy greedy, Minoux (1978).
    """
    front = known[non_dominated(known)]
    gains = np.array([_expected_gain(*row, front, reference) for row in zip(values, spread, strict=True)])
    chosen: list[int] = []
    told = np.zeros(len(values), dtype=np.int64)  # how many had been chosen when each gain was computed
    while len(chosen) < min(count, len(values)) and gains.max() > 0:
        best = int(gains.argmax())
        if told[best] < len(chosen):
            gains[best] = _expected_gain(values[best], spread[best], front, reference)
            told[best] = len(chosen)
            continue
        chosen.append(best)
        gains[best] = -1.0
        front = np.concatenate([front, values[[best]]])
        front = front[non_dominated(front)]
    return np.array(chosen, dtype=np.int64)


def _expected_gain(
    value: NDArray[np.float64], spread: NDArray[np.float64], front: NDArray[np.float64], reference: NDArray[np.float64]
) -> float:
    if not spread.any():
        return _gain(value, front, reference)
    return float(np.mean([_gain(value + place * spread, front, reference) for place in _FIFTHS]))


def _gain(value: NDArray[np.float64], front: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Volume between `value` and the reference, less what the front dominates of it: few members reach into that box."""
    if (value >= reference).any() or (front <= value).all(axis=1).any():
        return 0.0
    return float(np.prod(1.0 - value / reference)) - hypervolume(np.maximum(front, value), reference)
