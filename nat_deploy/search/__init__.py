"""The search: objectives under budgets, an archive, evolution on predictions, supernet adaptation, finalists measured on the device. No torch in here."""

from nat_deploy.search.archive import Evaluations, MixedVersionsError
from nat_deploy.search.budget import Budget, find_smallest, parse_budget
from nat_deploy.search.distribution import ArchitectureDistribution, ArchiveMarginals, MutatedMembers, make_distribution
from nat_deploy.search.evaluator import Evaluator
from nat_deploy.search.events import SearchEvent
from nat_deploy.search.latency_measuring import LatencyMeasurement, Measure
from nat_deploy.search.nat import SearchResult, run_search
from nat_deploy.search.objective import ERROR, LATENCY, Objective, make_objective
from nat_deploy.search.pareto import hypervolume, non_dominated, non_dominated_ranks
from nat_deploy.search.problem import LatencySource, SearchProblem, make_problem
from nat_deploy.search.run_folder import (
    EvaluationRecord,
    FinalistRecord,
    IterationRecord,
    MeasurementRecord,
    ResultRecord,
    RunFolder,
)
from nat_deploy.search.settings import SearchSettings

__all__ = [
    "ERROR",
    "LATENCY",
    "ArchitectureDistribution",
    "ArchiveMarginals",
    "Budget",
    "EvaluationRecord",
    "Evaluations",
    "Evaluator",
    "FinalistRecord",
    "IterationRecord",
    "LatencyMeasurement",
    "LatencySource",
    "Measure",
    "MeasurementRecord",
    "MixedVersionsError",
    "MutatedMembers",
    "Objective",
    "ResultRecord",
    "RunFolder",
    "SearchEvent",
    "SearchProblem",
    "SearchResult",
    "SearchSettings",
    "find_smallest",
    "hypervolume",
    "make_distribution",
    "make_objective",
    "make_problem",
    "non_dominated",
    "non_dominated_ranks",
    "parse_budget",
    "run_search",
]
