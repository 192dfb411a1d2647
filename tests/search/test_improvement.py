import numpy as np
import pytest

from nat_deploy.search import hypervolume
from nat_deploy.search.improvement import _expected_gain, _gain, choose_by_improvement

UNIT = np.ones(2)


def test_gain_of_values_placed_by_hand() -> None:
    front = np.array([[0.25, 0.75], [0.75, 0.25]])
    assert _gain(np.array([0.5, 0.5]), front, UNIT) == pytest.approx(0.25 * 0.25)  # the square between the two
    assert _gain(np.array([0.5, 0.8]), front, UNIT) == 0  # dominated
    assert _gain(np.array([0.25, 0.75]), front, UNIT) == 0  # there already
    assert _gain(np.array([1.5, 0.1]), front, UNIT) == 0  # outside the box
    assert _gain(np.array([50.0, 5.0]), np.empty((0, 2)), np.array([100.0, 10.0])) == pytest.approx(0.25)  # a share of the box


@pytest.mark.parametrize("num_objectives", [2, 3, 4])
def test_gain_is_the_difference_of_hypervolumes(num_objectives: int) -> None:
    rng = np.random.default_rng(num_objectives)
    reference = np.full(num_objectives, 2.0)
    front, values = rng.random((2, 20, num_objectives))
    for value in values:
        difference = hypervolume(np.concatenate([front, value[None]]), reference) - hypervolume(front, reference)
        assert _gain(value, front, reference) == pytest.approx(difference, abs=1e-12)


def test_expectation_is_the_mean_over_normal_errors() -> None:
    value, spread, front = np.array([0.5, 0.5]), np.array([0.1, 0.0]), np.array([[0.5, 0.5], [0.3, 0.8]])
    drawn = value + spread * np.random.default_rng(0).normal(size=(3_000, 1))
    mean = np.mean([_gain(row, front, UNIT) for row in drawn])
    assert _expected_gain(value, spread, front, UNIT) == pytest.approx(mean, rel=0.1)
    assert _expected_gain(value, np.zeros(2), front, UNIT) == 0


def test_choice_is_greedy() -> None:
    rng = np.random.default_rng(0)
    values, known = rng.random((40, 3)), rng.random((10, 3)) + 0.3
    spread = np.where(np.arange(3) == 0, 0.1 * rng.random((40, 1)), 0.0)
    reference = np.full(3, 1.5)
    expected: list[int] = []
    for _ in range(6):
        seen = np.concatenate([known, values[expected]])
        gains = [_expected_gain(value, width, seen, reference) for value, width in zip(values, spread, strict=True)]
        gains = [-1.0 if row in expected else gain for row, gain in enumerate(gains)]
        expected.append(int(np.argmax(gains)))
    assert choose_by_improvement(values, spread, known, reference, 6).tolist() == expected


def test_a_doubtful_row_goes_before_a_sure_one_with_the_same_values() -> None:
    values = np.array([[0.5, 0.5], [0.5, 0.5]])
    spread = np.array([[0.0, 0.0], [0.1, 0.0]])
    assert choose_by_improvement(values, spread, np.array([[0.6, 0.4]]), UNIT, 1).tolist() == [1]


def test_nothing_is_chosen_that_adds_nothing() -> None:
    values = np.array([[0.6, 0.6], [0.4, 0.4], [0.4, 0.4]])
    assert choose_by_improvement(values, np.zeros((3, 2)), np.array([[0.5, 0.5]]), UNIT, 3).tolist() == [1]
    assert choose_by_improvement(np.empty((0, 2)), np.empty((0, 2)), np.array([[0.5, 0.5]]), UNIT, 3).tolist() == []
