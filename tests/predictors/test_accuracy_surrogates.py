from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy_surrogates import NUM_TEST, read_accuracies
from nat_deploy.predictors.accuracy import (
    AccuracyMethod,
    MethodScores,
    PredictionScores,
    accuracy_features,
    choice,
    choose_surrogate,
    fit_surrogate,
    score_predictions,
)
from nat_deploy.predictors.accuracy.additive import _Moments, _negative_log_evidence
from nat_deploy.predictors.accuracy.kriging import _Likelihood
from nat_deploy.search.distribution import mutate
from nat_deploy.spaces import Architecture, make_space
from tests.contracts.accuracy_predictor_contract import SPACE, AccuracyPredictorContract, synthetic_error


class TestAdditive(AccuracyPredictorContract):
    method = "additive"


class TestKriging(AccuracyPredictorContract):
    method = "kriging"


class TestRbf(AccuracyPredictorContract):
    method = "rbf"


class TestGaussian(AccuracyPredictorContract):
    method = "gaussian"


class TestTrees(AccuracyPredictorContract):
    method = "trees"


class TestMlp(AccuracyPredictorContract):
    method = "mlp"


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_features_of_an_architecture_placed_by_hand() -> None:
    kernel = (3, 7, 5, 5, 3, 3, 3, 3, 3, 3)
    architecture = Architecture(space=SPACE.name, resolution=32, depth=(2,) * 5, kernel=kernel, expand=(6,) + (3,) * 9)
    features = accuracy_features(SPACE, SPACE.encode(architecture)[None])
    groups = [features.values[0, features.groups == group] for group in range(features.groups[-1] + 1)]
    assert groups[0].tolist() == [-1, 1]  # the smallest resolution
    assert groups[1].tolist() == [-1] * 5  # depth 2, of 3 in the middle
    assert groups[3].reshape(5, 4)[:2].tolist() == [[-1, 1, 0, 0], [0, 0, 0, 0]]  # kernels; a skipped layer says nothing
    assert groups[4].reshape(5, 4)[0, :2] == pytest.approx([5 / 3, -4 / 3])


def test_costs_span_minus_one_to_one_over_the_space() -> None:
    ends = np.stack([SPACE.encode(SPACE.smallest()), SPACE.encode(SPACE.largest())])
    features = accuracy_features(SPACE, ends)
    assert features.values[:, features.groups == 8] == pytest.approx(np.array([[-1, -1], [1, 1]]))


def test_gradient_of_the_evidence_is_its_slope() -> None:
    generator = rng()
    data = _Moments.of(generator.normal(size=(20, 6)), generator.normal(size=20))
    groups = np.array([0, 0, 1, 1, 1, 2])
    logs = generator.normal(size=4)
    value, gradient = _negative_log_evidence(data, groups, logs)
    for index in range(4):
        step = np.zeros(4)
        step[index] = 1e-5
        slope = (_negative_log_evidence(data, groups, logs + step)[0] - value) / 1e-5
        assert gradient[index] == pytest.approx(slope, abs=1e-3)


def test_evidence_is_the_density_of_the_errors() -> None:
    generator = rng()
    x, y = generator.normal(size=(5, 3)), generator.normal(size=5)
    groups, logs = np.array([0, 0, 1]), np.array([0.3, -0.5, -1.0])
    covariance = x @ np.diag(np.exp(logs[groups])) @ x.T + np.exp(-1.0) * np.eye(5)
    expected = 0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1])
    assert _negative_log_evidence(_Moments.of(x, y), groups, logs)[0] == pytest.approx(expected)


def test_spread_of_the_additive_model_covers_what_it_cannot_know() -> None:
    train, test = SPACE.sample(rng(), 150), SPACE.sample(np.random.default_rng(1), 300)
    prediction = fit_surrogate("additive", SPACE, train, synthetic_error(train), rng()).predict(test)
    inside = np.abs(prediction.mean - synthetic_error(test)) <= 1.96 * prediction.std
    assert inside.mean() > 0.85


def test_gradient_of_the_likelihood_is_its_slope() -> None:
    generator = rng()
    points = generator.normal(size=(15, 4))
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    likelihood = _Likelihood(products=points @ points.T, distance=distance, targets=generator.normal(size=15), noise=0.1)
    logs = generator.normal(size=4) - 1
    value, gradient = likelihood.negative_log(logs)
    for index in range(4):
        step = np.zeros(4)
        step[index] = 1e-5
        slope = (likelihood.negative_log(logs + step)[0] - value) / 1e-5
        assert gradient[index] == pytest.approx(slope, rel=1e-3, abs=1e-3)


def test_kriging_follows_what_a_sum_cannot_near_a_few_architectures() -> None:
    parents = SPACE.sample(rng(), 5)
    genes = SPACE.repair(mutate(SPACE, parents[np.arange(400) % 5], 0.15, rng()))
    layers = genes[:, 2:]
    kernel = np.where(layers > 0, (layers - 1) % 3, 1).mean(axis=1)
    error = synthetic_error(genes) + 3 * ((layers > 0).sum(axis=1) - 15) * (
        kernel - 1
    )  # kernels help deep networks and hurt shallow ones
    kriging, additive = (
        score_predictions(
            fit_surrogate(method, SPACE, genes[:200], error[:200], rng()).predict(genes[200:]).mean, error[200:]
        ).rmse
        for method in ("kriging", "additive")
    )
    assert kriging < 0.85 * additive


def test_spread_of_kriging_grows_away_from_what_was_evaluated() -> None:
    genes = SPACE.sample(rng(), 150)
    near = genes[:100][np.argsort(SPACE.count(genes[:100]).macs)[:50]]
    surrogate = fit_surrogate("kriging", SPACE, near, synthetic_error(near), rng())
    assert np.median(surrogate.predict(near).std) < np.median(surrogate.predict(genes[100:]).std)


def test_methods_are_compared_on_left_out_architectures() -> None:
    genes = SPACE.sample(rng(), 60)
    chosen = choose_surrogate(SPACE, genes, synthetic_error(genes), rng(), methods=("additive", "trees"))
    taus = {score.method: score.scores.kendall_tau for score in chosen.scores}
    assert 1 > taus["additive"] > taus["trees"] > 0.5, "the error is a sum, with noise"
    assert chosen.surrogate.method == "additive"
    assert {score.scores.count for score in chosen.scores} == {60}


@pytest.mark.parametrize(("taus", "chosen"), [((0.8, 0.84), "kriging"), ((0.8, 0.86), "trees"), ((0.8, 0.7), "kriging")])
def test_another_than_the_first_method_must_rank_clearly_better(
    taus: tuple[float, float], chosen: AccuracyMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_decree = dict(zip(("kriging", "trees"), taus, strict=True))
    monkeypatch.setattr(
        choice,
        "_cross_validate",
        lambda method, *_: MethodScores(
            method=method, scores=PredictionScores(count=60, rmse=1.0, spearman_rho=0.9, kendall_tau=by_decree[method])
        ),
    )
    genes = SPACE.sample(rng(), 60)
    found = choose_surrogate(SPACE, genes, synthetic_error(genes), rng(), methods=("kriging", "trees"))
    assert found.surrogate.method == chosen


def test_with_few_architectures_the_first_method_is_taken() -> None:
    genes = SPACE.sample(rng(), 10)
    chosen = choose_surrogate(SPACE, genes, synthetic_error(genes), rng(), methods=("rbf", "additive"))
    assert chosen.surrogate.method == "rbf"
    assert chosen.scores == ()


def test_scores_of_values_placed_by_hand() -> None:
    scores = score_predictions(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 4.0, 3.0]))
    assert scores.kendall_tau == pytest.approx(4 / 6)
    assert scores.rmse == pytest.approx(np.sqrt(0.5))
    constant = score_predictions(np.ones(3), np.arange(3.0))
    assert (constant.kendall_tau, constant.spearman_rho) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("method", "num_train", "least"),
    [("additive", 100, 0.87), ("additive", 300, 0.885), ("kriging", 100, 0.87), ("kriging", 300, 0.885), ("rbf", 300, 0.865)],
)
def test_ranks_measured_imagenet_accuracies(shared_data: Path, method: AccuracyMethod, num_train: int, least: float) -> None:
    space = make_space("ofa-mbv3-w1.0")
    genes, error = read_accuracies(shared_data / "ofa_accuracy.csv", space)
    order = rng().permutation(len(error))
    train, test = order[:num_train], order[num_train : num_train + NUM_TEST]
    surrogate = fit_surrogate(method, space, genes[train], error[train], rng())
    assert score_predictions(surrogate.predict(genes[test]).mean, error[test]).kendall_tau > least
