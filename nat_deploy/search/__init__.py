"""The search: objectives under budgets, an archive, evolution on predictions, supernet adaptation, finalists measured on the device. No torch in here."""

from nat_deploy.search.archive import Evaluations, MixedVersionsError
from nat_deploy.search.budget import Budget, assign_budgets, find_smallest, full_name, parse_budget, parse_latency_budget
from nat_deploy.search.distribution import ArchitectureDistribution, ArchiveMarginals, MutatedMembers, make_distribution
from nat_deploy.search.evaluator import AdaptableSupernet, Evaluator
from nat_deploy.search.events import SearchEvent
from nat_deploy.search.nat import SearchResult, run_search
from nat_deploy.search.objective import (
    COUNTED,
    ERROR,
    LATENCY,
    Objective,
    error_objective,
    is_error,
    latency_objective,
    make_objective,
)
from nat_deploy.search.pareto import hypervolume, non_dominated, non_dominated_ranks
from nat_deploy.search.problem import LatencySource, RefittableSource, SearchProblem, make_problem, measured_sitting
from nat_deploy.search.records import (
    EvaluationRecord,
    FinalistRecord,
    IterationRecord,
    MeasurementRecord,
    PredictionRecord,
    ResultRecord,
    SittingRecord,
    SurrogateRecord,
)
from nat_deploy.search.run_folder import RunFolder
from nat_deploy.search.settings import SearchSettings
from nat_deploy.search.sittings import LatencyMeasurement, Measure
from nat_deploy.search.weight import ACCURACY, Weight, parse_preference

__all__ = [
    "ACCURACY",
    "COUNTED",
    "ERROR",
    "LATENCY",
    "AdaptableSupernet",
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
    "PredictionRecord",
    "RefittableSource",
    "ResultRecord",
    "RunFolder",
    "SearchEvent",
    "SearchProblem",
    "SearchResult",
    "SearchSettings",
    "SittingRecord",
    "SurrogateRecord",
    "Weight",
    "assign_budgets",
    "error_objective",
    "find_smallest",
    "full_name",
    "hypervolume",
    "is_error",
    "latency_objective",
    "make_distribution",
    "make_objective",
    "make_problem",
    "measured_sitting",
    "non_dominated",
    "non_dominated_ranks",
    "parse_budget",
    "parse_latency_budget",
    "parse_preference",
    "run_search",
]
