"""The search beside others, in a world without training.

A model fitted on all measured accuracies of a table stands for the truth; MACs are the second objective, or others that are counted. Each method may ask the truth a
given number of times; the hypervolume of everything it asked is reported, as the mean over seeds with a 95 % interval.

    ours        this package: surrogates and candidates an iteration as a search has them by default; 50 initial ones and 50 generations, half of the default
    msunas      the settings of MSuNAS: RBF ensemble, 40 x 20 evolution, 8 candidates an iteration from 100 initial ones; it is given our features, which rank better
                than its own encoding, and the survival rule of NSGA-III in place of its own choice of candidates
    nsga2       NSGA-II asking the truth itself
    ofa         OFA's evolution asking the truth itself: for several MACs limits in turn, the best quarter mutated and crossed
    random      balanced-depth samples

    python benchmarks/search_surrogate_world.py ofa_accuracy.csv --seeds 20 --world rbf
    python benchmarks/search_surrogate_world.py ofa_accuracy.csv --seeds 10 --objectives macs num_params peak_activation_bytes
"""

import argparse
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy_surrogates import read_accuracies
from benchmarks.machine import circumstances
from nat_deploy.predictors.accuracy import ACCURACY_METHODS, AccuracyMethod, AccuracyPredictor, choose_surrogate, fit_surrogate
from nat_deploy.search import Evaluations, SearchSettings, hypervolume, make_problem
from nat_deploy.search.archive import not_among
from nat_deploy.search.distribution import mutate
from nat_deploy.search.infill import choose_infill
from nat_deploy.search.initial import sample_initial_archive
from nat_deploy.search.nsga3 import evolve
from nat_deploy.search.problem import SearchProblem
from nat_deploy.search.survival import survive
from nat_deploy.spaces import Genes, make_space

RESOLUTIONS = tuple(range(128, 225, 4))
CHECKPOINTS = (100, 200, 350)
OFA_POPULATION, OFA_MUTATION = 100, 0.1


class BudgetSpentError(Exception):
    """The truth was asked as often as allowed."""


@dataclass
class Truth:
    """Counts the architectures it was asked for; the same one twice counts once."""

    problem: SearchProblem
    model: AccuracyPredictor
    limit: int
    known: dict[bytes, float] = field(default_factory=dict)
    genes: list[NDArray[np.int64]] = field(default_factory=list)

    def error(self, genes: Genes) -> NDArray[np.float64]:
        errors = self.model.predict(genes).mean
        for row, error in zip(genes, errors, strict=True):
            if row.tobytes() not in self.known:
                if len(self.genes) == self.limit:
                    raise BudgetSpentError
                self.known[row.tobytes()] = float(error)
                self.genes.append(row)
        return errors

    def evaluations(self) -> Evaluations:
        genes = np.stack(self.genes)
        errors = np.array(list(self.known.values()))
        values = self.problem.values(genes, errors)
        return Evaluations(
            objectives=self.problem.names,
            genes=genes,
            values=values,
            measured=np.ones(len(genes), dtype=np.bool_),
            supernet_version=0,
        )

    def hypervolume(self, count: int) -> float:
        return hypervolume(self.evaluations().values[:count], self.problem.reference)


Method = Callable[[Truth, np.random.Generator], None]


def search_at_random(truth: Truth, rng: np.random.Generator) -> None:
    while True:
        truth.error(truth.problem.space.sample(rng, 1))


def search_by_nsga2(truth: Truth, rng: np.random.Generator) -> None:
    problem = truth.problem
    start = sample_initial_archive(problem, 40, rng)
    evolve(
        problem.space,
        lambda g: (problem.values(g, truth.error(g)), np.zeros(len(g))),
        start,
        rng,
        population_size=40,
        generations=1000,
    )


def search_by_ofa(truth: Truth, rng: np.random.Generator) -> None:
    """Limits in turn, so that one budget of evaluations serves a whole front."""
    space, num_limits = truth.problem.space, 5
    ends = np.log([space.count(space.encode(a)[None]).macs[0] for a in (space.smallest(), space.largest())])
    population_size = max(10, truth.limit // num_limits // 3)
    for limit in np.exp(np.linspace(ends[0], ends[1], num_limits + 2)[1:-1]):
        target = len(truth.genes) + truth.limit // num_limits
        population = _within(truth, limit, lambda: space.sample(rng, 200), population_size)
        errors = truth.error(population)
        while len(truth.genes) < target:
            parents = population[np.argsort(errors)[: max(2, population_size // 4)]]

            def children(parents: Genes = parents) -> Genes:
                first, second = (parents[rng.integers(len(parents), size=100)] for _ in range(2))
                mutated = mutate(space, first, OFA_MUTATION, rng)
                crossed = np.where(rng.random(first.shape) < 0.5, first, second)
                return space.repair(np.concatenate([mutated, crossed]))

            population = np.concatenate([parents, _within(truth, limit, children, population_size)])
            errors = truth.error(population)


def _within(truth: Truth, limit: float, draw: Callable[[], Genes], count: int) -> Genes:
    found: list[Genes] = []
    for _ in range(200):
        genes = draw()
        found.append(genes[truth.problem.space.count(genes).macs <= limit])
        if sum(map(len, found)) >= count:
            break
    pool = np.concatenate(found)
    if not len(pool):
        return truth.problem.space.encode(truth.problem.space.smallest())[None]
    order = np.random.default_rng(len(pool)).permutation(len(pool))
    return pool[order[:count]]


@dataclass(frozen=True)
class BySurrogate:
    """Initial archive, then rounds of surrogate, evolution and infill; the archive keeps everything."""

    methods: tuple[AccuracyMethod, ...]
    infill: Literal["improvement", "survival"]
    initial: int
    per_round: int
    population_size: int
    generations: int

    def __call__(self, truth: Truth, rng: np.random.Generator) -> None:
        problem = truth.problem
        truth.error(sample_initial_archive(problem, self.initial, rng))
        while True:
            archive = truth.evaluations()
            surrogate = choose_surrogate(problem.space, archive.genes, archive.column("error_percent"), rng, methods=self.methods)

            def objectives(
                genes: Genes, surrogate: AccuracyPredictor = surrogate
            ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
                return problem.values(genes, surrogate.predict(genes).mean), np.zeros(len(genes))

            start = archive.front().genes
            found = evolve(
                problem.space, objectives, start, rng, population_size=self.population_size, generations=self.generations
            )
            truth.error(self.choose(found[not_among(found, archive.genes)], surrogate, archive, problem, rng))

    def choose(
        self, found: Genes, surrogate: AccuracyPredictor, archive: Evaluations, problem: SearchProblem, rng: np.random.Generator
    ) -> Genes:
        errors, nothing = surrogate.predict(found), np.zeros(len(found))  # there are no budgets
        values = problem.values(found, errors.mean)
        if self.infill == "survival":
            return found[survive(values, nothing, self.per_round, rng)]
        measured = np.zeros(len(found), dtype=np.bool_)
        candidates = Evaluations(objectives=problem.names, genes=found, values=values, measured=measured, supernet_version=0)
        spread = np.zeros_like(values)
        spread[:, 0] = errors.std
        return choose_infill(candidates, spread, nothing, nothing, archive, problem.reference, self.per_round, rng).genes


DEFAULTS = SearchSettings()
METHODS: dict[str, Method] = {
    "ours": BySurrogate(
        methods=DEFAULTS.surrogates,
        infill="improvement",
        initial=DEFAULTS.initial_size // 2,
        per_round=DEFAULTS.new_per_iteration,
        population_size=DEFAULTS.population_size,
        generations=DEFAULTS.generations // 2,
    ),
    "msunas": BySurrogate(methods=("rbf",), infill="survival", initial=100, per_round=8, population_size=40, generations=20),
    "nsga2": search_by_nsga2,
    "ofa": search_by_ofa,
    "random": search_at_random,
}


def run(method: Method, problem: SearchProblem, model: AccuracyPredictor, seed: int, limit: int) -> Truth:
    truth = Truth(problem=problem, model=model, limit=limit)
    with contextlib.suppress(BudgetSpentError):
        method(truth, np.random.default_rng(seed))
    return truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--objectives", nargs="+", default=["macs"], help="counted costs beside the error")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--world", choices=ACCURACY_METHODS, default="gaussian", help="model that stands for the truth")
    options = parser.parse_args()
    print(circumstances("natdeploy", "numpy", "pymoo"))
    space = make_space("ofa-mbv3-w1.0", resolutions=RESOLUTIONS)
    genes, error = read_accuracies(options.csv, space)
    model = fit_surrogate(options.world, space, genes, error, np.random.default_rng(0))
    problem = make_problem(space, SearchSettings(objectives=("error_percent", *options.objectives)), {})
    print(
        f"world {options.world}, error and {', '.join(options.objectives)}; hypervolume after evaluations: "
        + " ".join(f"{count:>17}" for count in CHECKPOINTS)
    )
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for name in options.methods:
        start = time.process_time()
        truths = [run(METHODS[name], problem, model, seed, CHECKPOINTS[-1]) for seed in seeds]
        volumes = np.array([[truth.hypervolume(count) for count in CHECKPOINTS] for truth in truths])
        half = 1.96 * volumes.std(axis=0, ddof=1) / np.sqrt(len(volumes)) if len(volumes) > 1 else np.zeros(len(CHECKPOINTS))
        cells = " ".join(f"{mean:.5f} ± {width:.5f}" for mean, width in zip(volumes.mean(axis=0), half, strict=True))
        print(f"{name:10} {cells}  {(time.process_time() - start) / options.seeds:.1f} s a seed", flush=True)


if __name__ == "__main__":
    main()
