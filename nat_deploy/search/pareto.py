"""Dominance and hypervolume; everything is minimised."""

import numpy as np
from numpy.typing import NDArray

_MOST_EXACT = 6  # objectives of an exact hypervolume


def dominance(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Shape `(n, n)`: whether row `i` dominates row `j`, being nowhere larger and somewhere smaller."""
    no_larger = np.ones((len(values), len(values)), dtype=np.bool_)
    smaller = np.zeros_like(no_larger)
    for column in values.T:
        no_larger &= column[:, None] <= column
        smaller |= column[:, None] < column
    return no_larger & smaller


def non_dominated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mask, shape `(n,)`, of the rows that no other row dominates; equal rows do not dominate each other."""
    return np.asarray(~dominance(values).any(axis=0))


def non_dominated_ranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Shape `(n,)`: 0 for the front, 1 for the front of the rest, and so on."""
    dominates = dominance(values)
    ranks = np.full(len(values), -1, dtype=np.int64)
    rank = 0
    while (left := ranks < 0).any():
        ranks[left & ~dominates[left].any(axis=0)] = rank
        rank += 1
    return ranks


def hypervolume(values: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Share of the box from 0 to `reference` that `values`, shape `(n, m)`, dominate: 0 for nothing, 1 for all of it.

    The reference is fixed by the space and the devices, not by a run: 100 % error, and of each cost what the largest architecture
    of the space needs. So hypervolumes of runs in one space on the same devices compare. Points outside the box contribute
    nothing.

    With more than six objectives it is approximated, to about .001, along evenly spread directions, always the same ones: the exact value of a hundred
    points in twelve dimensions takes minutes. A set that dominates more never comes out smaller.

    Source of the approximation: Deng & Zhang (IEEE TEVC 23, 2019).
    """
    inside = values[(values < reference).all(axis=1)] / reference
    if not len(inside):
        return 0.0
    import moocore

    front, corner = inside[non_dominated(inside)], np.ones(len(reference))
    return float(
        moocore.hypervolume(front, ref=corner) if len(reference) <= _MOST_EXACT else moocore.hv_approx(front, ref=corner)
    )
