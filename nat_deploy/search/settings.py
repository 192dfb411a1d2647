"""What a search is asked to do."""

from dataclasses import dataclass

from pydantic import ConfigDict

from nat_deploy.errors import InputError
from nat_deploy.predictors.accuracy import ACCURACY_METHODS, COMPARED_METHODS, AccuracyMethod
from nat_deploy.search.budget import Budget
from nat_deploy.search.distribution import Adaptation
from nat_deploy.search.objective import ERROR, LATENCY, is_error, make_objective
from nat_deploy.search.weight import Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Sizes are numbers of architectures; the defaults are NAT's.

    objectives          names, the errors first: "error_percent", or "error_percent@DATA" for each of several data sets
    budgets             upper bounds, on costs that may or may not be objectives
    weights             how much each objective counts for the answer; none for the most accurate network within the budgets
    seed                all randomness of the search comes from it
    initial_size        evaluated before the first iteration, both extremes of the space among them
    archive_size        kept by survival; all of them are evaluated again after each adaptation, so this decides what an iteration
                        costs
    iterations          rounds of surrogate, evolution, infill, adaptation, evaluation
    new_per_iteration   candidates that join the archive in each
    population_size, generations    of the evolution on predictions
    surrogates          methods compared by cross-validation in each iteration: the first, unless another ranks clearly better
    adapt               whether the supernet's weights are adapted before each evaluation
    adaptation          distribution of the architectures it is adapted on
    finalists           networks measured on the device and returned
    probes              networks measured on each device before the search and after each iteration, to refit its latency predictor; 0 for
                        never
    finalist_rounds     rounds of measuring and replacing those over the budget
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    objectives: tuple[str, ...] = (ERROR, LATENCY, "macs", "num_params")
    budgets: tuple[Budget, ...] = ()
    weights: tuple[Weight, ...] = ()
    seed: int = 0
    initial_size: int = 100
    archive_size: int = 300
    iterations: int = 30
    new_per_iteration: int = 25
    population_size: int = 100
    generations: int = 100
    surrogates: tuple[AccuracyMethod, ...] = COMPARED_METHODS
    adapt: bool = True
    adaptation: Adaptation = "members"
    finalists: int = 4
    probes: int = 4
    finalist_rounds: int = 8

    def __post_init__(self) -> None:
        for name in self.objectives:
            make_objective(name)
        errors = self.errors
        if not errors or errors != self.objectives[: len(errors)] or len(set(self.objectives)) < max(2, len(self.objectives)):
            raise InputError(
                f"objectives must be errors and then costs, at least one other beside {ERROR}, each once, "
                f"but they are {', '.join(self.objectives)}"
            )
        if len(errors) > 1 and ERROR in errors:
            raise InputError(
                f"each of several errors must name its data set, {ERROR}@DATA, but the errors are {', '.join(errors)}; name all"
            )
        bounded = [budget.objective for budget in self.budgets]
        if len(set(bounded)) < len(bounded):
            raise InputError(
                f"each objective may have one budget, but the budgets are {', '.join(map(str, self.budgets))}; remove one"
            )
        for weight in self.weights:
            if weight.objective not in self.objectives:
                raise InputError(
                    f"weights must be of objectives of the search, {', '.join(self.objectives)}, but one is of '{weight.objective}'"
                )
        least = {
            "seed": 0,
            "initial_size": 4,
            "iterations": 0,
            "new_per_iteration": 1,
            "population_size": max(4, len(self.objectives)),
            "generations": 1,
            "finalists": 1,
            "probes": 0,
            "finalist_rounds": 1,
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InputError(f"{name} of a search must be at least {low}, but it is {getattr(self, name)}")
        if self.archive_size < self.initial_size:
            raise InputError(f"archive_size must be at least initial_size, {self.initial_size}, but it is {self.archive_size}")
        if self.new_per_iteration >= self.archive_size:
            raise InputError(
                f"new_per_iteration must be less than archive_size, {self.archive_size}, but it is {self.new_per_iteration}"
            )
        if not self.surrogates:
            raise InputError(f"surrogates must name at least one of {', '.join(ACCURACY_METHODS)}, but there is none")

    @property
    def errors(self) -> tuple[str, ...]:
        """The error objectives, one per data set."""
        return tuple(name for name in self.objectives if is_error(name))
