"""Objectives and budgets of one search, for any number of gene strings at once, as far as the devices have been measured."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import InputError
from nat_deploy.predictors.latency.prediction import Prediction
from nat_deploy.predictors.latency.refit import MeasuredSitting
from nat_deploy.search.budget import Budget
from nat_deploy.search.genes import to_genes
from nat_deploy.search.objective import Objective, is_error, make_objective
from nat_deploy.search.records import MeasurementRecord, SittingRecord
from nat_deploy.search.settings import SearchSettings
from nat_deploy.search.weight import Weight
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


class RefittableSource(LatencySource, Protocol):
    """A predictor as it is before the search, which what the search measures can bring up to date."""

    def refit(self, sittings: Sequence[MeasuredSitting]) -> LatencySource:
        """A predictor that knows these sittings as well, oldest first; the same sittings give the same predictor, none give the source's own."""
        ...


@dataclass(frozen=True, kw_only=True)
class SearchProblem:
    """Costs of architectures, and how far they are over the budgets.

    weights     how much each objective counts for the answer; none where it is the most accurate network within the budgets
    sources     a predictor for every latency objective and every latency budget, by objective name, as it is before the search
    sittings    what was measured since, oldest first
    latency     the predictors that know these sittings
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    budgets: tuple[Budget, ...]
    weights: tuple[Weight, ...] = ()
    sources: Mapping[str, RefittableSource]
    sittings: tuple[SittingRecord, ...] = ()
    latency: Mapping[str, LatencySource]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(objective.name for objective in self.objectives)

    @property
    def error_names(self) -> tuple[str, ...]:
        """The error objectives, one per data set."""
        return tuple(name for name in self.names if is_error(name))

    def after(self, sitting: SittingRecord) -> "SearchProblem":
        """The problem with one more sitting, and the predictor of its device refitted."""
        sittings, name = (*self.sittings, sitting), sitting.objective
        known = [measured_sitting(found) for found in sittings if found.objective == name]
        return replace(self, sittings=sittings, latency={**self.latency, name: self.sources[name].refit(known)})

    def measurements(self, objective: str) -> Iterator[tuple[SittingRecord, MeasurementRecord]]:
        """Everything that was measured of a latency, oldest first."""
        for sitting in self.sittings:
            if sitting.objective == objective:
                for record in sitting.measurements:
                    yield sitting, record

    def values(self, genes: Genes, errors_percent: NDArray[np.float64]) -> NDArray[np.float64]:
        """Objective values, shape `(n, m)`: the given errors, shape `(n, k)`, or `(n,)` of an only data set, beside counted costs and predicted latencies."""
        errors = dict(zip(self.error_names, np.atleast_2d(errors_percent.T), strict=True))
        columns = [errors[name] if name in errors else self.cost(name)(genes) for name in self.names]
        return np.asarray(np.stack(columns, axis=1), dtype=np.float64)

    def spread(self, errors_percent: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard deviations of objective values, shape `(n, m)`: those of the errors, shape `(n, k)`, and 0 for what is counted or predicted without them."""
        errors = dict(zip(self.error_names, errors_percent.T, strict=True))
        none = np.zeros(len(errors_percent))
        return np.stack([errors.get(name, none) for name in self.names], axis=1)

    def aimed_values(self, genes: Genes, errors_percent: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean error beside the costs that have a budget, shape `(n, 1 + number of budgets)`: the trade-off in which the answer lies."""
        columns = [errors_percent.mean(axis=1), *(self.cost(budget.objective)(genes) for budget in self.budgets)]
        return np.asarray(np.stack(columns, axis=1), dtype=np.float64)

    def cost(self, name: str) -> Callable[[Genes], NDArray[np.float64]]:
        """The counted cost or the predicted latency of that name."""
        return lambda genes: self.bounds(name, genes).value

    def upper_bound(self, name: str) -> Callable[[Genes], NDArray[np.float64]]:
        """The counted cost, or the upper end of the latency's interval: what a budget is held against."""
        return lambda genes: self.bounds(name, genes).high

    def bounds(self, name: str, genes: Genes) -> Prediction:
        """The predicted latency with its interval, or the counted cost, whose ends are itself."""
        if name in self.latency:
            return self.latency[name].predict(genes)
        counts = np.asarray(getattr(self.space.count(genes), name), dtype=np.float64)
        return Prediction(value=counts, low=counts, high=counts)

    def violation(self, genes: Genes) -> NDArray[np.float64]:
        """How far upper ends of intervals exceed the budgets, relative to each and added up, shape `(n,)`: 0 where all are surely met."""
        return self._excess(genes, lambda bounds: bounds.high)

    def likely_violation(self, genes: Genes) -> NDArray[np.float64]:
        """How far predicted values exceed the budgets, shape `(n,)`: 0 where a measurement is more likely than not to show that each is met."""
        return self._excess(genes, lambda bounds: bounds.value)

    def certain_violation(self, genes: Genes) -> NDArray[np.float64]:
        """How far even lower ends exceed the budgets, shape `(n,)`: 0 where a measurement may yet show that all are met."""
        return self._excess(genes, lambda bounds: bounds.low)

    def _excess(self, genes: Genes, end: Callable[[Prediction], NDArray[np.float64]]) -> NDArray[np.float64]:
        excess: NDArray[np.float64] = np.zeros(len(genes))
        for budget in self.budgets:
            excess += np.maximum(end(self.bounds(budget.objective, genes)) / budget.upper - 1.0, 0.0)
        return excess

    @cached_property
    def reference(self) -> NDArray[np.float64]:
        """Reference point of the hypervolume, shape `(m,)`: 100 % of each error and the costs of the largest architecture.

        Its latencies are those predicted before the search: the point stays where it is while predictors are refitted.
        """
        largest = self.space.encode(self.space.largest())[None]
        return replace(self, latency=self.sources).values(largest, np.full((1, len(self.error_names)), 100.0)).reshape(-1)


def measured_sitting(record: SittingRecord) -> MeasuredSitting:
    """The part of a sitting that a predictor learns from."""
    columns = {
        name: np.array([getattr(found, field) for found in record.measurements], dtype=np.float64)
        for name, field in (("value_ms", "median_ms"), ("low_ms", "low_ms"), ("high_ms", "high_ms"))
    }
    return MeasuredSitting(genes=to_genes([found.genes for found in record.measurements]), **columns)


def make_problem(space: SearchSpace, settings: SearchSettings, latency: Mapping[str, RefittableSource]) -> SearchProblem:
    """The problem that the settings state, before anything is measured.

    Raises:
        InputError: A latency objective or budget has no predictor.
    """
    objectives = tuple(make_objective(name) for name in settings.objectives)
    for name in [*settings.objectives, *(budget.objective for budget in settings.budgets)]:
        if make_objective(name).source == "latency" and name not in latency:
            raise InputError(f"objective '{name}' needs a latency predictor, but there is none; give a device that was profiled")
    return SearchProblem(
        space=space,
        objectives=objectives,
        budgets=settings.budgets,
        weights=settings.weights,
        sources=latency,
        latency=latency,
    )
