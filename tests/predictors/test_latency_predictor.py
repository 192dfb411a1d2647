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
from nat_deploy.predictors.latency.additive import network_observations
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
