import numpy as np
import pytest

from nat_deploy.search import ArchiveMarginals, Budget, MutatedMembers
from nat_deploy.search.archive import not_among
from nat_deploy.search.distribution import mutate
from nat_deploy.search.initial import sample_initial_archive
from nat_deploy.search.nsga3 import evolve
from nat_deploy.search.problem import make_problem
from nat_deploy.search.settings import SearchSettings

from .worlds import SPACE, SyntheticDevice


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_marginals_draw_each_gene_as_often_as_the_archive_has_it() -> None:
    archive = SPACE.sample(rng(), 30)
    drawn = ArchiveMarginals(space=SPACE, genes=archive).sample(rng(1), 4000)
    assert (SPACE.repair(drawn) == drawn).all()
    for gene in (0, 2, 3, 6):  # genes that repair does not touch
        for value in np.unique(archive[:, gene]):
            assert (drawn[:, gene] == value).mean() == pytest.approx((archive[:, gene] == value).mean(), abs=0.04)


def test_mutated_members_stay_close_to_a_member() -> None:
    archive = SPACE.sample(rng(), 5)
    drawn = MutatedMembers(space=SPACE, genes=archive).sample(rng(1), 500)
    assert (SPACE.repair(drawn) == drawn).all()
    nearest = (drawn[:, None] != archive[None]).sum(axis=2).min(axis=1)
    assert nearest.mean() < 3
    assert nearest.max() > 0


def test_mutation_stays_inside_the_bounds() -> None:
    genes = mutate(SPACE, SPACE.sample(rng(), 200), 1.0, rng(1))
    assert (genes >= SPACE.gene_lower).all()
    assert (genes <= SPACE.gene_upper).all()


@pytest.mark.parametrize("names", [("error_percent", "macs"), ("error_percent", "latency_ms", "num_params")])
def test_evolution_moves_the_front_and_is_the_same_for_the_same_seed(names: tuple[str, ...]) -> None:
    settings = SearchSettings(objectives=names, budgets=(Budget(objective="latency_ms", upper=1.6),))
    problem = make_problem(SPACE, settings, {"latency_ms": SyntheticDevice().predictor()})

    def objectives(genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        error = 50.0 - 3.0 * np.log2(SPACE.count(genes).num_params / 1e5) - genes[:, 2:].mean(axis=1)
        return problem.values(genes, error), problem.violation(genes)

    start = SPACE.sample(rng(), 30)
    one, two = (evolve(SPACE, objectives, start, rng(7), population_size=24, generations=15) for _ in range(2))
    assert (one == two).all()
    assert (SPACE.repair(one) == one).all()
    assert not_among(one, one[:0]).all()
    values, violation = objectives(one)
    assert (violation == 0).mean() > 0.8
    feasible = objectives(start)[0][objectives(start)[1] == 0]
    assert values[violation == 0][:, 0].min() <= feasible[:, 0].min()


@pytest.mark.parametrize("upper", [1.15, 1.3, 5.0])
def test_initial_archive_has_both_ends_and_feasible_networks(upper: float) -> None:
    settings = SearchSettings(budgets=(Budget(objective="latency_ms", upper=upper),))
    problem = make_problem(SPACE, settings, {"latency_ms": SyntheticDevice().predictor()})
    genes = sample_initial_archive(problem, 40, rng())
    assert len(genes) == 40
    assert not_among(genes, genes[:0]).all()
    assert SPACE.decode(genes[0]) == SPACE.smallest()
    assert SPACE.decode(genes[1]) == SPACE.largest()
    assert (problem.violation(genes) == 0).sum() >= 10
