import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nat_deploy.search import hypervolume, non_dominated, non_dominated_ranks

VALUES = arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(2, 4)), elements=st.integers(0, 5).map(float))


def test_front_of_points_placed_by_hand() -> None:
    values = np.array([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0], [3.0, 3.0], [4.0, 4.0]])
    assert non_dominated(values).tolist() == [True, True, True, False, False]
    assert non_dominated_ranks(values).tolist() == [0, 0, 0, 1, 2]


def test_equal_points_stay_together() -> None:
    assert non_dominated(np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]])).tolist() == [True, True, False]


def test_hypervolume_of_points_placed_by_hand() -> None:
    # In a box of 10 x 10: 5 x 5 from the first, and 8 x 2 of which 5 x 2 is counted already, from the second.
    reference = np.array([10.0, 10.0])
    assert hypervolume(np.array([[5.0, 5.0]]), reference) == pytest.approx(0.25)
    assert hypervolume(np.array([[5.0, 5.0], [2.0, 8.0]]), reference) == pytest.approx(0.31)
    assert hypervolume(np.array([[5.0, 5.0], [2.0, 8.0], [6.0, 6.0], [1.0, 11.0]]), reference) == pytest.approx(0.31)
    assert hypervolume(np.array([[10.0, 1.0]]), reference) == 0.0
    assert hypervolume(np.empty((0, 2)), reference) == 0.0


@given(VALUES)
def test_front_matches_its_definition(values: np.ndarray) -> None:
    expected = [not any((other <= row).all() and (other < row).any() for other in values) for row in values]
    assert non_dominated(values).tolist() == expected


@given(VALUES)
def test_every_rank_is_the_front_of_what_is_left(values: np.ndarray) -> None:
    ranks = non_dominated_ranks(values)
    for rank in range(ranks.max() + 1):
        left = values[ranks >= rank]
        assert (non_dominated(left) == (ranks[ranks >= rank] == rank)).all()


@given(VALUES)
def test_hypervolume_matches_counting_of_unit_cells(values: np.ndarray) -> None:
    side, num = 6, values.shape[1]
    corners = np.stack(np.meshgrid(*[np.arange(side)] * num, indexing="ij"), axis=-1).reshape(-1, num)
    covered = (values[:, None] <= corners[None]).all(axis=2).any(axis=0)
    assert hypervolume(values, np.full(num, float(side))) == pytest.approx(covered.mean())


@pytest.mark.parametrize("num_objectives", [2, 6, 7, 12])
def test_hypervolume_of_placed_points_in_many_dimensions(num_objectives: int) -> None:
    """One point dominates a box; a second one that is better in one objective and worse in another adds what the first does not have."""
    m = num_objectives
    first = np.full(m, 0.1)
    second = np.where(np.arange(m) == 0, 0.0, 0.2)
    reference = np.full(m, 2.0)  # shares of it: 0.05, 0 and 0.1
    box, added = 0.95**m, 0.05 * 0.9 ** (m - 1)
    assert hypervolume(first[None], reference) == pytest.approx(box, abs=2e-3)
    both = hypervolume(np.stack([first, second]), reference)
    assert both == pytest.approx(box + added, abs=2e-3)
    assert both > hypervolume(first[None], reference)


def test_a_large_front_in_twelve_dimensions_takes_no_minutes() -> None:
    points = np.random.default_rng(0).random((300, 12))
    points /= points.sum(axis=1, keepdims=True)
    whole, part = (hypervolume(points[:count], np.ones(12)) for count in (300, 100))
    assert 0.8 < part < whole < 1
