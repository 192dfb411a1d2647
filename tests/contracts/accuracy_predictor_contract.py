"""What every accuracy surrogate must do; inherit it and give the method."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.accuracy import AccuracyMethod, fit_surrogate, score_predictions
from nat_deploy.spaces import Genes, make_space

SPACE = make_space("ofa-mbv3-w0.5", resolutions=tuple(range(32, 97, 8)), num_classes=10)


def synthetic_error(genes: Genes) -> NDArray[np.float64]:
    """A formula with saturation, effects of layers, and texture that no surrogate can know."""
    texture = np.random.default_rng(int(genes.sum()) % 1000).normal(size=len(genes)) * 0.1
    return 50 - 4 * np.log2(SPACE.count(genes).macs / 1e6) - (genes[:, 2:] % 3).mean(axis=1) - genes[:, 6] * 0.1 + texture


class AccuracyPredictorContract:
    method: ClassVar[AccuracyMethod]

    def genes(self, count: int, seed: int = 0) -> Genes:
        return SPACE.sample(np.random.default_rng(seed), count)

    def test_ranks_unseen_architectures(self) -> None:
        train, test = self.genes(120), self.genes(200, seed=1)
        surrogate = fit_surrogate(self.method, SPACE, train, synthetic_error(train), np.random.default_rng(0))
        assert score_predictions(surrogate.predict(test).mean, synthetic_error(test)).kendall_tau > 0.8

    def test_answers_have_the_shape_of_the_question_and_a_spread(self) -> None:
        train = self.genes(60)
        surrogate = fit_surrogate(self.method, SPACE, train, synthetic_error(train), np.random.default_rng(0))
        prediction = surrogate.predict(self.genes(7, seed=2))
        assert prediction.mean.shape == prediction.std.shape == (7,)
        assert np.isfinite(prediction.mean).all()
        assert (prediction.std >= 0).all()
        assert (prediction.std > 0).any()

    def test_same_seed_same_answer(self) -> None:
        train, test = self.genes(50), self.genes(20, seed=3)
        answers = [
            fit_surrogate(self.method, SPACE, train, synthetic_error(train), np.random.default_rng(5)).predict(test).mean
            for _ in range(2)
        ]
        assert (answers[0] == answers[1]).all()

    def test_shift_of_the_errors_shifts_the_prediction(self) -> None:
        train, test = self.genes(50), self.genes(20, seed=3)
        plain, shifted = (
            fit_surrogate(self.method, SPACE, train, synthetic_error(train) + by, np.random.default_rng(5)).predict(test).mean
            for by in (0.0, 10.0)
        )
        assert np.allclose(shifted - plain, 10.0, atol=0.3)

    def test_equal_errors_are_predicted_as_they_are(self) -> None:
        train = self.genes(30)
        surrogate = fit_surrogate(self.method, SPACE, train, np.full(30, 12.5), np.random.default_rng(0))
        assert np.allclose(surrogate.predict(self.genes(10, seed=4)).mean, 12.5, atol=1e-3)

    def test_few_and_repeated_architectures_are_no_obstacle(self) -> None:
        few = np.concatenate([self.genes(4)] * 2)
        surrogate = fit_surrogate(self.method, SPACE, few, np.arange(8.0), np.random.default_rng(0))
        assert np.isfinite(surrogate.predict(self.genes(5, seed=6)).mean).all()
