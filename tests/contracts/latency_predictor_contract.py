"""What every latency predictor must do; `class TestX(LatencyPredictorContract)` gives the method `fit` and inherits."""

import numpy as np
import pytest
from numpy.typing import NDArray

from nat_deploy.errors import ArchitectureError
from nat_deploy.predictors.latency import LatencyPredictor, score
from nat_deploy.spaces import Genes, SearchSpace
from tests.predictors.synthetic_device import TARGET, latencies, small_space


class LatencyPredictorContract:
    def fit(self, space: SearchSpace, genes: Genes, latency_ms: NDArray[np.float64]) -> LatencyPredictor:
        raise NotImplementedError

    @pytest.fixture
    def space(self) -> SearchSpace:
        return small_space()

    @pytest.fixture
    def predictor(self, space: SearchSpace) -> LatencyPredictor:
        rng = np.random.default_rng(0)
        genes = space.sample(rng, 60)
        return self.fit(space, genes, latencies(space, genes, rng))

    @pytest.fixture
    def unseen(self, space: SearchSpace) -> Genes:
        return space.sample(np.random.default_rng(1), 300)

    def test_knows_its_target(self, predictor: LatencyPredictor) -> None:
        assert predictor.target == TARGET

    def test_predicts_unseen_networks(self, space: SearchSpace, predictor: LatencyPredictor, unseen: Genes) -> None:
        scores = score(predictor.predict(unseen), latencies(space, unseen, np.random.default_rng(2)))
        assert scores.mape < 0.03
        assert scores.kendall_tau > 0.95

    def test_intervals_hold_at_their_rate(self, space: SearchSpace, predictor: LatencyPredictor, unseen: Genes) -> None:
        scores = score(predictor.predict(unseen), latencies(space, unseen, np.random.default_rng(2)))
        assert scores.coverage is not None
        assert 0.88 <= scores.coverage <= 1.0

    def test_an_interval_holds_its_value(self, predictor: LatencyPredictor, unseen: Genes) -> None:
        prediction = predictor.predict(unseen)
        assert prediction.value.dtype == np.float64
        assert np.all((prediction.low > 0) & (prediction.low <= prediction.value) & (prediction.value <= prediction.high))

    def test_a_network_does_not_depend_on_its_neighbours(self, predictor: LatencyPredictor, unseen: Genes) -> None:
        together = predictor.predict(unseen[:5])
        for row in range(5):
            np.testing.assert_allclose(predictor.predict(unseen[row : row + 1]).value, together.value[row], rtol=1e-12)

    def test_equal_networks_are_equally_fast(self, space: SearchSpace, predictor: LatencyPredictor) -> None:
        genes = space.sample(np.random.default_rng(3), 200, sampling="uniform")
        spoilt = genes.copy()
        spoilt[:, 5][genes[:, 4] == 0] = 1  # a fourth layer without a third is no layer
        np.testing.assert_allclose(predictor.predict(spoilt).value, predictor.predict(genes).value)

    def test_no_networks_have_no_latencies(self, predictor: LatencyPredictor, unseen: Genes) -> None:
        assert predictor.predict(unseen[:0]).value.shape == (0,)
        assert predictor.is_outside(unseen[:0]).shape == (0,)

    def test_refuses_genes_outside_the_space(self, predictor: LatencyPredictor, unseen: Genes) -> None:
        with pytest.raises(ArchitectureError):
            predictor.predict(unseen[:1] + 100)

    def test_says_what_lies_outside_its_range(self, space: SearchSpace, unseen: Genes) -> None:
        rng = np.random.default_rng(0)
        genes = space.sample(rng, 200)
        genes = genes[genes[:, 0] <= 1][:40]
        predictor = self.fit(space, genes, latencies(space, genes, rng))
        largest = space.encode(space.largest())[None]
        assert predictor.is_outside(largest).all()
        assert not predictor.is_outside(genes[:1]).any()
        inside = predictor.predict(genes[:1])
        outside = predictor.predict(largest)
        assert (outside.high / outside.low)[0] > (inside.high / inside.low)[0]
