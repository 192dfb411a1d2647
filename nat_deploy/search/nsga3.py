"""The search on predictions: NSGA-III on gene strings, NSGA-II for two objectives, from pymoo.

Variation keeps integers: two-point crossover, and mutation that redraws a gene. Every child is repaired to the canonical form
before duplicates are removed, so two spellings of one network count as one.

Sources: Deb and Jain, NSGA-III (IEEE TEVC 2014); Deb et al., NSGA-II (IEEE TEVC 2002).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nat_deploy.search.archive import not_among
from nat_deploy.search.distribution import mutate
from nat_deploy.search.survival import reference_directions, survive
from nat_deploy.spaces import Genes, SearchSpace

Objectives = Callable[[Genes], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Objective values `(n, m)`, minimised, and violations of the budgets `(n,)` of gene strings `(n, num_genes)`."""

_CROSSOVER_PROBABILITY = 0.9


def evolve(
    space: SearchSpace,
    objectives: Objectives,
    start: Genes,
    rng: np.random.Generator,
    *,
    population_size: int,
    generations: int,
) -> Genes:
    """Evolve a population towards the front.

    Args:
        space: Where the gene strings live.
        objectives: What is minimised under which budgets; called once per generation.
        start: Canonical gene strings to begin with; cut by survival or filled with random ones to `population_size`.
        rng: All randomness comes from it.
        population_size: Individuals, at least one per objective.
        generations: Generations after the first population.

    Returns:
        The last population, canonical and without duplicates, shape `(about population_size, num_genes)`.
    """
    from pymoo.optimize import minimize

    start = _first_population(space, objectives, start, rng, population_size)
    problem = _problem(space, objectives, start)
    algorithm = _algorithm(space, start, problem.n_obj, population_size)
    result = minimize(problem, algorithm, ("n_gen", generations + 1), seed=int(rng.integers(2**31)), verbose=False)
    final = space.repair(np.asarray(result.pop.get("X"), dtype=np.int64))
    return final[not_among(final, final[:0])]


def _first_population(space: SearchSpace, objectives: Objectives, start: Genes, rng: np.random.Generator, size: int) -> Genes:
    if len(start) > size:
        return start[survive(*objectives(start), size, rng)]
    candidates = np.concatenate([start, space.sample(rng, 2 * (size - len(start)))])
    return candidates[not_among(candidates, candidates[:0])][:size]


# pymoo's classes are made inside functions: importing it takes a good part of a second, and its types are not visible to mypy.


def _problem(space: SearchSpace, objectives: Objectives, start: Genes) -> Any:
    from pymoo.core.problem import Problem

    class SurrogateProblem(Problem):  # type: ignore[misc, unused-ignore]
        def _evaluate(self, x: NDArray[np.int64], out: dict[str, object], *_: object, **__: object) -> None:
            values, violation = objectives(np.asarray(x, dtype=np.int64))
            out["F"], out["G"] = values, violation[:, None]

    num_objectives = objectives(start[:1])[0].shape[1]
    return SurrogateProblem(
        n_var=len(space.gene_lower), n_obj=num_objectives, n_ieq_constr=1, xl=space.gene_lower, xu=space.gene_upper, vtype=int
    )


def _algorithm(space: SearchSpace, start: Genes, num_objectives: int, population_size: int) -> Any:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.algorithms.moo.nsga3 import NSGA3
    from pymoo.core.duplicate import DefaultDuplicateElimination
    from pymoo.core.mutation import Mutation
    from pymoo.core.repair import Repair
    from pymoo.operators.crossover.pntx import TwoPointCrossover

    class Canonical(Repair):  # type: ignore[misc, unused-ignore]
        def _do(self, _: object, x: NDArray[np.int64], **__: object) -> Genes:
            return space.repair(x)

    class Redraw(Mutation):  # type: ignore[misc, unused-ignore]
        def _do(self, _: object, x: NDArray[np.int64], *, random_state: np.random.Generator, **__: object) -> Genes:
            return mutate(space, np.asarray(x, dtype=np.int64), 1.0 / x.shape[1], random_state)

    operators = {
        "sampling": start,
        "crossover": TwoPointCrossover(prob=_CROSSOVER_PROBABILITY),
        "mutation": Redraw(),
        "repair": Canonical(),
        "eliminate_duplicates": DefaultDuplicateElimination(),
    }
    if num_objectives <= 2:
        return NSGA2(pop_size=population_size, **operators)
    directions = reference_directions(num_objectives, population_size)
    return NSGA3(directions, pop_size=population_size, **operators)
