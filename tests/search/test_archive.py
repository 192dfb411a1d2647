from dataclasses import replace

import numpy as np
import pytest

from nat_deploy.search import Evaluations, MixedVersionsError
from nat_deploy.search.archive import not_among
from nat_deploy.search.infill import choose_infill
from nat_deploy.search.survival import reference_directions, survive

from .worlds import SPACE


def make(genes: np.ndarray, values: list[list[float]], *, version: int = 0, measured: bool = True) -> Evaluations:
    return Evaluations(
        objectives=("error_percent", "macs"),
        genes=genes,
        values=np.array(values),
        measured=np.full(len(genes), measured),
        supernet_version=version,
    )


def different(count: int, seed: int = 0) -> np.ndarray:
    return np.unique(SPACE.sample(np.random.default_rng(seed), 3 * count), axis=0)[:count]


def test_values_of_different_weights_are_never_put_together() -> None:
    genes = different(2)
    with pytest.raises(MixedVersionsError, match="versions 1 and 2"):
        make(genes[:1], [[1, 2]], version=1).merge(make(genes[1:], [[1, 2]], version=2))


def test_latencies_of_different_predictors_are_never_put_together() -> None:
    genes = different(2)
    later = replace(make(genes[1:], [[1, 2]]), num_sittings=3)
    with pytest.raises(MixedVersionsError, match="after 0 and 3 sittings"):
        make(genes[:1], [[1, 2]]).merge(later)
    assert (
        later.take(np.array([0])).num_sittings
        == later.merge(replace(make(genes[:1], [[1, 2]]), num_sittings=3)).num_sittings
        == 3
    )


def test_predicted_and_measured_stay_apart_in_one_pool() -> None:
    genes = different(2)
    pool = make(genes[:1], [[1, 2]]).merge(make(genes[1:], [[3, 1]], measured=False))
    assert pool.measured.tolist() == [True, False]
    assert len(pool.front()) == 2


def test_an_architecture_is_there_once() -> None:
    genes = different(1)
    with pytest.raises(ValueError, match="twice"):
        make(np.concatenate([genes, genes]), [[1, 2], [3, 4]])


def test_not_among_drops_known_and_repeated_rows() -> None:
    a, b, c = different(3)
    assert not_among(np.stack([a, b, b, c]), np.stack([c])).tolist() == [True, True, False, False]


def test_survival_keeps_both_ends_and_prefers_rows_within_budgets() -> None:
    values = np.stack([np.linspace(0, 1, 50), 1 - np.linspace(0, 1, 50)], axis=1)
    rows = survive(values, np.zeros(50), 10, np.random.default_rng(0))
    assert len(set(rows.tolist())) == 10
    assert {0, 49} <= set(rows.tolist())
    violation = np.where(np.arange(50) < 8, 0.0, 1.0)
    assert set(range(8)) <= set(survive(values, violation, 10, np.random.default_rng(0)).tolist())


def test_survival_takes_the_front_before_the_rest() -> None:
    values = np.array([[0.0, 1.0, 0.5], [1.0, 0.0, 0.5], [0.5, 0.5, 0.0], [2.0, 2.0, 2.0], [3.0, 3.0, 3.0]])
    assert survive(values, np.zeros(5), 3, np.random.default_rng(1)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("num_objectives", [1, 2, 3])
def test_directions_lie_in_the_unit_simplex(num_objectives: int) -> None:
    directions = reference_directions(num_objectives, 10)
    assert directions.shape[1] == num_objectives
    assert np.allclose(directions.sum(axis=1), 1)
    assert (directions >= 0).all()


def test_infill_is_new_within_the_budget_and_of_the_asked_number() -> None:
    genes = different(30)
    values = [[float(i), 30.0 - i] for i in range(30)]
    archive = make(genes[:5], values[:5])
    candidates = make(genes, values, measured=False)
    violation = np.where(np.arange(30) < 10, 0.5, 0.0)  # the ten most accurate ones are too slow
    reference, spread = np.full(2, 40.0), np.zeros((30, 2))
    chosen = choose_infill(
        candidates, spread, violation, violation, archive, reference, 8, np.random.default_rng(0), aimed_share=0.5
    )
    assert len(chosen) == 8
    assert not_among(chosen.genes, archive.genes).all()
    errors = sorted(chosen.column("error_percent"))
    assert errors[:4] == [10, 11, 12, 13]
    assert errors[4] > 14  # the others are spread over the front
    assert errors[-1] > 25


def test_infill_fills_the_gap_of_the_archive() -> None:
    genes = different(13)
    archive = make(genes[:3], [[0.0, 10.0], [1.0, 9.0], [10.0, 0.0]])
    along = [[float(i), 9.9 - i] for i in range(1, 10)] + [[0.5, 9.6]]
    candidates, none = make(genes[3:], along, measured=False), np.zeros(10)
    chosen = choose_infill(candidates, np.zeros((10, 2)), none, none, archive, np.full(2, 20.0), 1, np.random.default_rng(0))
    assert 4 <= chosen.column("error_percent")[0] <= 7


def test_infill_is_filled_where_nothing_adds_anything_or_objectives_are_many() -> None:
    genes = different(20)
    best = make(genes[:1], [[0.0, 0.0]])
    worse = make(genes[1:], [[1.0 + i, 20.0 - i] for i in range(19)], measured=False)
    none, rng = np.zeros(19), np.random.default_rng(0)
    assert len(choose_infill(worse, np.zeros((19, 2)), none, none, best, np.full(2, 30.0), 6, rng)) == 6
    over = np.ones(19)  # nothing keeps the budgets
    assert len(choose_infill(worse, np.zeros((19, 2)), over, over, best, np.full(2, 30.0), 6, rng, aimed_share=0.5)) == 6
    assert len(choose_infill(worse, np.zeros((19, 2)), none, none, best, np.full(2, 30.0), 40, rng)) == 19
