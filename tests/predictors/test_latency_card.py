"""Scores by hand, and the card of a table."""

from dataclasses import replace

import numpy as np
import pytest

from nat_deploy.predictors.latency import Prediction, make_card, repeatability, score
from tests.predictors.synthetic_device import make_table, small_space, timing


def test_scores_by_hand() -> None:
    scores = score(np.array([1.04, 2.16, 3.6, 4.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert scores.within_5 == 0.5
    assert scores.within_10 == 0.75
    assert scores.mape == pytest.approx((0.04 + 0.08 + 0.2) / 4)
    assert scores.kendall_tau == pytest.approx(1)
    assert scores.spearman == pytest.approx(1)
    assert scores.coverage is None


def test_coverage_by_hand() -> None:
    prediction = Prediction(value=np.array([1.0, 2.0]), low=np.array([0.5, 1.9]), high=np.array([2.0, 2.1]))
    assert score(prediction, np.array([1.8, 2.2])).coverage == 0.5


def test_constant_predictions_rank_nothing() -> None:
    assert score(np.ones(3), np.array([1.0, 2.0, 3.0])).kendall_tau == 0


def test_repeatability_pairs_sittings() -> None:
    table = make_table(small_space(), np.random.default_rng(0), num_networks=3, num_blocks=0)
    assert repeatability(table.networks, "p25") is None
    again = [replace(entry, sitting=1, timing=timing(entry.timing.p25_ms * 1.1)) for entry in table.networks]
    repeated = repeatability((*table.networks, *again), "p25")
    assert repeated is not None
    assert repeated.num_networks == 3
    assert repeated.mape == pytest.approx(1 - 1 / 1.1)


def test_a_card_has_ours_and_the_baselines() -> None:
    card = make_card(small_space(), make_table(small_space(), np.random.default_rng(0), num_networks=30, num_blocks=10))
    assert [row.name for row in card.rows] == ["natdeploy", "plain ridge", "depth", "macs"]
    assert card.scores.within_10 > 0.9
    assert (card.num_networks, card.num_blocks, card.repeatability) == (30, 10, None)
    assert len(card.lines()) == 8
    assert card.lines()[1].startswith("30 networks and 10 blocks (")
    assert "no network was measured in enough sittings" in card.lines()[-1]


def test_a_card_tells_the_ceiling_from_the_reference_and_the_error_with_the_speed_known() -> None:
    """Six sittings at different speeds, each with the same first network."""
    table = make_table(small_space(), np.random.default_rng(0), num_networks=60, num_blocks=0)
    states = (1.0, 1.2, 1.0, 1.0, 0.8, 1.0)
    entries = []
    for sitting, state in enumerate(states):
        of_sitting = [table.networks[0], *table.networks[1 + 9 * sitting : 10 + 9 * sitting]]
        entries += [replace(e, sitting=sitting, timing=timing(e.timing.p25_ms * state)) for e in of_sitting]
    card = make_card(small_space(), replace(table, networks=tuple(entries)))
    assert (card.num_networks, card.num_repeated) == (55, 1)
    assert card.lines()[1].startswith("55 networks, no block; ")
    assert card.repeatability is not None
    assert card.repeatability.mape == pytest.approx((0 + abs(1.2 / 0.8 - 1) + 0) / 3)
    assert [row.name for row in card.rows[:2]] == ["natdeploy", "natdeploy, speed known"]
    assert card.rows[1].scores.mape < 0.03
    assert card.rows[0].scores.mape > 2 * card.rows[1].scores.mape
    ceiling = card.lines()[-1].split()
    assert ceiling[:4] == ["same", "net,", "two", "sittings"]
    assert ceiling.count("–") == 4  # ranks of one network and intervals mean nothing


def test_a_card_names_the_tables_that_helped() -> None:
    space = small_space()
    small = make_table(space, np.random.default_rng(0), num_networks=12, num_blocks=0)
    large = make_table(space, np.random.default_rng(1), num_networks=80)
    large = replace(large, target=replace(large.target, threads=4))
    card = make_card(space, small, sources=[large])
    assert card.sources == (large.target.key,)
    assert f"with tables of {large.target.key}" in card.lines()
