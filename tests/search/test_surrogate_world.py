from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.accuracy_surrogates import read_accuracies
from nat_deploy.predictors.accuracy import fit_surrogate
from nat_deploy.search import RunFolder, SearchSettings, hypervolume, make_problem, run_search
from nat_deploy.search.genes import to_genes
from nat_deploy.spaces import Genes, make_space

from .worlds import SyntheticEvaluator


class TableEvaluator(SyntheticEvaluator):
    """Errors of a model fitted on all measured accuracies."""

    def __init__(self, table: Path) -> None:
        super().__init__(make_space("ofa-mbv3-w1.0", resolutions=tuple(range(128, 225, 4))))
        genes, error = read_accuracies(table, self.space)
        self.model = fit_surrogate("gaussian", self.space, genes, error, np.random.default_rng(0))

    def errors(self, genes: Genes) -> NDArray[np.float64]:
        return self.model.predict(genes).mean


def test_beats_random_sampling_with_as_many_evaluations(shared_data: Path, tmp_path: Path) -> None:
    evaluator = TableEvaluator(shared_data / "ofa_accuracy.csv")
    settings = SearchSettings(
        objectives=("error_percent", "macs"),
        iterations=3,
        initial_size=40,
        archive_size=100,
        new_per_iteration=20,
        population_size=40,
        generations=30,
        surrogates=("additive",),
        adapt=False,
    )
    folder = RunFolder.create(tmp_path / "run", settings, {})
    result = run_search(evaluator.space, evaluator, {}, {}, folder)
    problem = make_problem(evaluator.space, settings, {})
    num_evaluations = len(folder.evaluations.read())
    assert num_evaluations == 100
    for seed in range(3):
        genes = evaluator.space.sample(np.random.default_rng(seed), num_evaluations)
        random = hypervolume(problem.values(genes, evaluator.errors(genes)[:, None]), problem.reference)
        assert hypervolume(result.front.values, problem.reference) > random + 0.01
    assert result.chosen.error_percent == pytest.approx(evaluator.model.predict(to_genes([result.chosen.genes])).mean[0])
