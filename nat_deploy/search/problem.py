"""Objectives and budgets of one search, for any number of gene strings at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import InputError
from nat_deploy.predictors.latency.prediction import Prediction
from nat_deploy.search.budget import Budget
from nat_deploy.search.objective import Objective, make_objective
from nat_deploy.search.settings import SearchSettings
from nat_deploy.spaces import Genes, SearchSpace


class NamedTarget(Protocol):
    """What latencies belong to; they compare only within one key."""

    @property
    def key(self) -> str: ...


class LatencySource(Protocol):
    """The part of a latency predictor that a search needs."""

    @property
    def target(self) -> NamedTarget: ...

    def predict(self, genes: Genes) -> Prediction:
        """Latencies with intervals, in ms, of gene strings of shape `(n, num_genes)`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedLatency:
    """A predictor times a factor that measurements have shown."""

    source: LatencySource
    factor: float

    @property
    def target(self) -> NamedTarget:
        return self.source.target

    def predict(self, genes: Genes) -> Prediction:
        plain = self.source.predict(genes)
        return Prediction(value=plain.value * self.factor, low=plain.low * self.factor, high=plain.high * self.factor)


@dataclass(frozen=True, kw_only=True)
class SearchProblem:
    """Costs of architectures, and how far they are over the budgets.

    latency     a predictor for every latency objective and every latency budget, by objective name
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    budgets: tuple[Budget, ...]
    latency: Mapping[str, LatencySource]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(objective.name for objective in self.objectives)

    def values(self, genes: Genes, error_percent: NDArray[np.float64]) -> NDArray[np.float64]:
        """Objective values, shape `(n, m)`: the given errors, shape `(n,)`, beside counted costs and predicted latencies."""
        columns = [error_percent if o.source == "evaluated" else self.cost(o.name)(genes) for o in self.objectives]
        return np.asarray(np.stack(columns, axis=1), dtype=np.float64)

    def cost(self, name: str) -> Callable[[Genes], NDArray[np.float64]]:
        """The counted cost or the predicted latency of that name."""
        return lambda genes: self._bounds(name, genes)[1]

    def upper_bound(self, name: str) -> Callable[[Genes], NDArray[np.float64]]:
        """The counted cost, or the upper end of the latency's interval: what a budget is held against."""
        return lambda genes: self._bounds(name, genes)[2]

    def _bounds(self, name: str, genes: Genes) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        if name in self.latency:
            prediction = self.latency[name].predict(genes)
            return prediction.low, prediction.value, prediction.high
        counts = np.asarray(getattr(self.space.count(genes), name), dtype=np.float64)
        return counts, counts, counts

    def violation(self, genes: Genes) -> NDArray[np.float64]:
        """How far upper ends of intervals exceed the budgets, relative to each and added up, shape `(n,)`: 0 where all are surely met."""
        return self._excess(genes, end=2)

    def certain_violation(self, genes: Genes) -> NDArray[np.float64]:
        """How far even lower ends exceed the budgets, shape `(n,)`: 0 where a measurement may yet show that all are met."""
        return self._excess(genes, end=0)

    def _excess(self, genes: Genes, *, end: int) -> NDArray[np.float64]:
        excess: NDArray[np.float64] = np.zeros(len(genes))
        for budget in self.budgets:
            excess += np.maximum(self._bounds(budget.objective, genes)[end] / budget.upper - 1.0, 0.0)
        return excess

    @cached_property
    def reference(self) -> NDArray[np.float64]:
        """Reference point of the hypervolume, shape `(m,)`: 100 % error and the costs of the largest architecture."""
        largest = self.space.encode(self.space.largest())[None]
        return self.values(largest, np.array([100.0])).reshape(-1)

    def corrected(self, name: str, factor: float) -> "SearchProblem":
        """The same problem with one latency predictor multiplied by `factor`."""
        return replace(self, latency={**self.latency, name: CorrectedLatency(source=self.latency[name], factor=factor)})


def make_problem(space: SearchSpace, settings: SearchSettings, latency: Mapping[str, LatencySource]) -> SearchProblem:
    """The problem that the settings state.

    Raises:
        InputError: A latency objective or budget has no predictor.
    """
    objectives = tuple(make_objective(name) for name in settings.objectives)
    for name in [*settings.objectives, *(budget.objective for budget in settings.budgets)]:
        if make_objective(name).source == "latency" and name not in latency:
            raise InputError(f"objective '{name}' needs a latency predictor, but there is none; give a device that was profiled")
    return SearchProblem(space=space, objectives=objectives, budgets=settings.budgets, latency=latency)
