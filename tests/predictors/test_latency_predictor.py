"""The additive predictor on a synthetic device and on public labels."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nat_deploy.errors import InputError
from nat_deploy.predictors.latency import (
    AdditivePredictor,
    BlockIndex,
    LatencyPredictor,
    fit_baseline,
    fit_on_networks,
    fit_predictor,
    predictor_from_table,
    score,
)
from nat_deploy.predictors.latency.block_costs import BlockCosts, CostTable
from nat_deploy.predictors.latency.observations import network_observations
from nat_deploy.spaces import SPACE_NAMES, Architecture, Genes, SearchSpace, count_macs, make_space
from tests.contracts.latency_predictor_contract import LatencyPredictorContract
from tests.predictors.synthetic_device import TARGET, latencies, make_table, small_space


class TestAdditivePredictorOnNetworks(LatencyPredictorContract):
    def fit(self, space: SearchSpace, genes: Genes, latency_ms: NDArray[np.float64]) -> LatencyPredictor:
        return fit_on_networks(BlockIndex(space), TARGET, genes, latency_ms)


@pytest.mark.parametrize("name", SPACE_NAMES)
def test_counts_of_blocks_are_those_of_the_space(name: str) -> None:
    space = make_space(name, resolutions=(36, 64), num_classes=7)
    index = BlockIndex(space)
    genes = space.sample(np.random.default_rng(0), 20, sampling="uniform")
    macs = np.array([count_macs(block) for block in index.blocks], dtype=np.float64)
    np.testing.assert_allclose(index.count(genes) @ macs, space.count(genes).macs)
    assert len(set(index.blocks)) == len(index.blocks)


def test_blocks_and_networks_are_one_model() -> None:
    space = small_space()
    rng = np.random.default_rng(0)
    table = make_table(space, rng, num_networks=12, num_blocks=150)
    predictor = predictor_from_table(space, table)
    assert predictor.uses_blocks
    unseen = space.sample(rng, 200)
    exact = latencies(space, unseen, rng, noise=0)
    assert score(predictor.predict(unseen), exact).mape < 0.04


def test_blocks_that_mislead_are_left_out() -> None:
    space = small_space()
    rng = np.random.default_rng(0)
    table = make_table(space, rng, num_networks=60, num_blocks=60)
    wrong = tuple(
        type(entry)(block=entry.block, timing=table.networks[place % 60].timing, sitting=1)
        for place, entry in enumerate(table.blocks)
    )
    spoilt = make_table(space, np.random.default_rng(0), num_networks=60, num_blocks=0).extended(table.target, blocks=wrong)
    unseen = space.sample(rng, 200)
    exact = latencies(space, unseen, rng, noise=0)
    assert score(predictor_from_table(space, spoilt).predict(unseen), exact).mape < 0.03


def test_a_table_serves_other_class_counts_and_resolutions() -> None:
    measured = small_space()
    rng = np.random.default_rng(0)
    table = make_table(measured, rng, num_networks=60)
    other = make_space("ofa-mbv3-w0.5", resolutions=(40, 64, 80), num_classes=100)
    unseen = other.sample(rng, 200)
    assert score(predictor_from_table(other, table).predict(unseen), latencies(other, unseen, rng)).mape < 0.06


def test_outliers_do_not_move_the_others() -> None:
    space = small_space()
    rng = np.random.default_rng(0)
    genes = space.sample(rng, 60)
    measured = latencies(space, genes, rng)
    measured[::30] *= 3
    unseen = space.sample(rng, 200)
    predicted = fit_on_networks(BlockIndex(space), TARGET, genes, measured).predict(unseen)
    assert score(predicted, latencies(space, unseen, rng, noise=0)).mape < 0.04


def test_too_few_networks_are_refused() -> None:
    space = small_space()
    with pytest.raises(InputError, match="at least 5 measured networks, but there are 4"):
        predictor_from_table(space, make_table(space, np.random.default_rng(0), num_networks=4, num_blocks=0))


def test_a_table_of_another_space_is_refused() -> None:
    table = make_table(small_space(), np.random.default_rng(0), num_networks=6)
    with pytest.raises(InputError, match=r"must be of space 'ofa-mbv3-w1.0', but it is of 'ofa-mbv3-w0.5'"):
        predictor_from_table(make_space("ofa-mbv3-w1.0"), table)


def test_beats_its_baselines() -> None:
    space = small_space()
    index = BlockIndex(space)
    rng = np.random.default_rng(0)
    genes, unseen = space.sample(rng, 40), space.sample(rng, 300)
    measured, exact = latencies(space, genes, rng), latencies(space, unseen, rng, noise=0)
    ours = score(fit_on_networks(index, TARGET, genes, measured).predict(unseen), exact)
    for name in ("macs", "depth", "plain ridge"):
        baseline = score(fit_baseline(name, index, genes, measured).predict(unseen), exact)
        assert ours.mape < baseline.mape
        assert ours.kendall_tau > baseline.kendall_tau


@pytest.fixture(scope="module")
def gpu_labels(shared_data: Path) -> tuple[SearchSpace, Genes, NDArray[np.float64]]:
    """1,500 subnets with latencies measured on a Titan RTX, batch 64."""
    space = make_space("ofa-mbv3-w1.0", resolutions=tuple(range(128, 225, 4)))
    genes, measured = [], []
    with (shared_data / "ofa_latency.csv").open() as file:
        for row, _ in zip(csv.DictReader(file), range(1500), strict=False):
            depth, kernel, expand = (tuple(int(value) for value in row[name].split()) for name in ("depth", "kernel", "expand"))
            slots = [4 * stage + place for stage in range(5) for place in range(depth[stage])]
            arch = Architecture(
                space=space.name,
                resolution=int(row["resolution"]),
                depth=depth,
                kernel=tuple(kernel[slot] for slot in slots),
                expand=tuple(expand[slot] for slot in slots),
            )
            genes.append(space.encode(arch))
            measured.append(float(row["titan_rtx_64_ms"]))
    return space, np.array(genes), np.array(measured)


@pytest.mark.parametrize(("num_networks", "most_mape"), [(30, 0.02), (100, 0.01)])
def test_real_labels_are_predicted(
    gpu_labels: tuple[SearchSpace, Genes, NDArray[np.float64]], num_networks: int, most_mape: float
) -> None:
    space, genes, measured = gpu_labels
    index = BlockIndex(space)
    scores = []
    for draw in range(5):
        order = np.random.default_rng(draw).permutation(len(genes))
        fitted, unseen = order[:num_networks], order[num_networks:]
        predictor: AdditivePredictor = fit_on_networks(index, TARGET, genes[fitted], measured[fitted])
        scores.append(score(predictor.predict(genes[unseen]), measured[unseen]))
    assert np.mean([s.mape for s in scores]) < most_mape
    assert np.mean([s.within_10 for s in scores]) > 0.97
    assert 0.9 < np.mean([s.coverage or 0.0 for s in scores]) <= 1


def test_one_wild_latency_at_the_edge_is_not_believed() -> None:
    space = small_space()
    rng = np.random.default_rng(0)
    genes = np.concatenate([space.sample(rng, 29), space.encode(space.largest())[None]])
    measured = latencies(space, genes, rng)
    measured[-1] *= 10
    unseen = space.sample(rng, 200)
    predicted = fit_on_networks(BlockIndex(space), TARGET, genes, measured).predict(unseen)
    assert score(predicted, latencies(space, unseen, rng, noise=0)).mape < 0.04


def test_sittings_in_different_states_of_the_machine_do_not_blur_the_model() -> None:
    """A machine whose neighbours make it 20 % faster or slower from one sitting to the next."""
    space = small_space()
    rng = np.random.default_rng(0)
    index = BlockIndex(space)
    genes, unseen = space.sample(rng, 96), space.sample(rng, 300)
    sittings = np.repeat(np.arange(8), 12)
    states = np.array([1.0, 0.8, 1.2, 1.0, 1.2, 0.8, 1.0, 1.0])
    measured = network_observations(index, genes, latencies(space, genes, rng, noise=0.005) * states[sittings])
    exact = latencies(space, unseen, rng, noise=0)

    told, not_told = (
        fit_predictor(index, TARGET, replace(measured, sittings=numbers)).predict(unseen)
        for numbers in (sittings, np.zeros_like(sittings))
    )
    blur, clear = (np.std(prediction.value / exact) for prediction in (not_told, told))
    assert clear < 0.6 * blur
    # The next sitting has a state too, so the interval must hold networks measured in any of these.
    held = [np.mean((told.low <= state * exact) & (state * exact <= told.high)) for state in (0.8, 1.0, 1.2)]
    assert min(held) > 0.9


def test_a_middle_sitting_is_what_is_predicted_for() -> None:
    """Two sittings of ten met a busy machine: predictions stay with the eight, and errors are told with the speed known."""
    space = small_space()
    rng = np.random.default_rng(0)
    index = BlockIndex(space)
    genes, unseen = space.sample(rng, 120), space.sample(rng, 300)
    sittings = np.repeat(np.arange(10), 12)
    states = np.array([1.0, 1, 1.4, 1, 1, 1, 1.3, 1, 1, 1])
    measured = network_observations(index, genes, latencies(space, genes, rng, noise=0.005) * states[sittings])
    predictor = fit_predictor(index, TARGET, replace(measured, sittings=sittings))
    ratio = predictor.predict(unseen).value / latencies(space, unseen, rng, noise=0)
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    assert np.std(ratio) < 0.02
    assert predictor.loo_mape < 0.02
    spread = np.sqrt(np.mean((states - 1) ** 2))
    assert spread < predictor.sitting_noise < 1.25 * spread  # the middle one is uncertain too


@pytest.mark.parametrize(("num_sittings", "persistence"), [(1, 0.0), (2, 0.0), (5, 0.0), (5, 0.8), (20, 0.0), (20, 0.8)])
def test_intervals_hold_sittings_to_come(num_sittings: int, persistence: float) -> None:
    """A device whose state strays by 2 %, at once or slowly: intervals hold later sittings, and are not far wider than that needs."""
    space = small_space()
    index = BlockIndex(space)
    sittings = np.repeat(np.arange(num_sittings), max(6, 30 // num_sittings))
    coverages, widths = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        states = 0.02 * _wandering(rng, num_sittings, persistence)
        genes, unseen = space.sample(rng, len(sittings)), space.sample(rng, 100)
        measured = network_observations(index, genes, latencies(space, genes, rng, noise=0.005) * np.exp(states[sittings]))
        predicted = fit_predictor(index, TARGET, replace(measured, sittings=sittings)).predict(unseen)
        later = np.exp(0.02 * rng.standard_normal(200))[:, None] * latencies(space, unseen, rng, noise=0.005)
        coverages.append(np.mean((predicted.low <= later) & (later <= predicted.high)))
        widths.append(np.median(np.log(predicted.high / predicted.low)) / 2)
    assert np.mean(coverages) > 0.9
    assert np.mean(widths) < (0.06 if num_sittings >= 20 else 0.12)


def test_labels_of_no_sitting_need_no_room_for_later_ones() -> None:
    space = small_space()
    rng = np.random.default_rng(0)
    genes = space.sample(rng, 40)
    measured = network_observations(BlockIndex(space), genes, latencies(space, genes, rng))
    of_one_sitting = replace(measured, sittings=np.zeros(40, dtype=np.int64))
    noises = [fit_predictor(BlockIndex(space), TARGET, seen).sitting_noise for seen in (measured, of_one_sitting)]
    assert noises[0] == 0
    assert noises[1] > 0.02  # the usual spread, and that of the sitting it was measured in


def _wandering(rng: np.random.Generator, count: int, persistence: float) -> NDArray[np.float64]:
    """States of shape `(count,)` with standard deviation 1, each of which keeps a share of the one before."""
    states = rng.standard_normal(count)
    for place in range(1, count):
        states[place] = persistence * states[place - 1] + np.sqrt(1 - persistence**2) * states[place]
    return states


def test_copies_of_a_network_are_left_out_together() -> None:
    """A network that no model explains must not vouch for itself because it was measured ten times."""
    space = small_space()
    rng = np.random.default_rng(0)
    index = BlockIndex(space)
    genes = space.sample(rng, 40)
    measured = latencies(space, genes, rng)
    measured[0] *= 1.15
    copied = np.concatenate([genes, np.repeat(genes[:1], 10, axis=0)])
    again = np.concatenate([measured, np.repeat(measured[:1], 10)])
    once, often = fit_on_networks(index, TARGET, genes, measured), fit_on_networks(index, TARGET, copied, again)
    assert (once.num_networks, often.num_networks) == (40, 40)
    assert often.loo_mape == pytest.approx(once.loo_mape, rel=0.3)
    unseen = space.sample(rng, 200)
    exact = latencies(space, unseen, rng, noise=0)
    assert score(often.predict(unseen), exact).mape < 1.5 * score(once.predict(unseen), exact).mape


def _source(space: SearchSpace, law: float) -> AdditivePredictor:
    """A device that is faster where blocks are few, and much measured."""
    rng = np.random.default_rng(7)
    genes = space.sample(rng, 200)
    return fit_on_networks(BlockIndex(space), replace(TARGET, device="source"), genes, latencies(space, genes, rng) ** law)


def test_a_few_networks_and_another_device_are_enough() -> None:
    space = small_space()
    rng = np.random.default_rng(0)
    index = BlockIndex(space)
    genes, unseen = space.sample(rng, 6), space.sample(rng, 300)
    measured = network_observations(index, genes, 3 * latencies(space, genes, rng))
    exact = 3 * latencies(space, unseen, rng, noise=0)
    alone, helped = (fit_predictor(index, TARGET, measured, sources=sources) for sources in ((), (_source(space, 1.0),)))
    assert [source.target.device for source in helped.sources] == ["source"]
    assert score(helped.predict(unseen), exact).mape < 0.6 * score(alone.predict(unseen), exact).mape
    assert score(helped.predict(unseen), exact).spearman > 0.98


def test_a_source_that_misleads_does_no_harm() -> None:
    space = small_space()
    rng = np.random.default_rng(0)
    index = BlockIndex(space)
    genes, unseen = space.sample(rng, 20), space.sample(rng, 300)
    measured = network_observations(index, genes, latencies(space, genes, rng))
    exact = latencies(space, unseen, rng, noise=0)
    alone, misled = (fit_predictor(index, TARGET, measured, sources=sources) for sources in ((), (_source(space, -1.0),)))
    assert score(misled.predict(unseen), exact).mape < 1.3 * score(alone.predict(unseen), exact).mape


def test_a_small_table_learns_from_tables_of_other_classes_and_resolutions() -> None:
    space = small_space()
    small = make_table(space, np.random.default_rng(0), num_networks=6, num_blocks=0)
    other = make_space("ofa-mbv3-w0.5", resolutions=(32, 64, 96, 128), num_classes=100)
    large = replace(make_table(other, np.random.default_rng(1), num_networks=80), target=replace(TARGET, device="other"))
    predictor = predictor_from_table(space, small, sources=[large])
    assert isinstance(predictor, AdditivePredictor)
    assert [source.target.device for source in predictor.sources] == ["other"]
    unseen = space.sample(np.random.default_rng(2), 200)
    assert score(predictor.predict(unseen), latencies(space, unseen, np.random.default_rng(3), noise=0)).mape < 0.03


def test_costs_by_genes_are_costs_by_blocks() -> None:
    space = small_space()
    index = BlockIndex(space)
    rng = np.random.default_rng(0)
    costs = BlockCosts(
        blocks=rng.standard_normal((len(index.blocks), 3)),
        call=rng.standard_normal(3),
        resolutions=1e-6 * rng.standard_normal((len(space.resolutions), 3)),
    )
    genes = space.sample(rng, 50, sampling="uniform")
    by_blocks = costs.of_graphs(index, index.count(genes), genes[:, 0])
    np.testing.assert_allclose(CostTable.of(index, costs).sums(genes), by_blocks, rtol=1e-9, atol=1e-9)
    weights = rng.standard_normal((3, 2))
    np.testing.assert_allclose((costs @ weights).of_graphs(index, index.count(genes), genes[:, 0]), by_blocks @ weights)
