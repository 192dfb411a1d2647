"""A network of a run with everything that is known of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from nat_deploy.search import Budget
from nat_deploy.spaces import Architecture
from nat_deploy.spaces.subnet_file import ValueSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a network costs, in the unit of the objective of that name; `low` to `high` is the interval, both equal to `value` where it is counted."""

    name: str
    value: float
    low: float
    high: float
    source: ValueSource

    def meets(self, budget: Budget) -> bool:
        """Whether the upper end of the interval keeps the budget: the search holds the same against it."""
        return self.high <= budget.upper


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One evaluated architecture.

    architecture        None where the run does not say its search space
    errors_percent      top-1 errors on the validation images, one per data set
    supernet_version    age of the weights that gave it
    costs               those that are known
    """

    genes: tuple[int, ...]
    architecture: Architecture | None
    errors_percent: tuple[float, ...]
    supernet_version: int
    costs: tuple[Cost, ...]

    @property
    def error_percent(self) -> float:
        """The mean over the data sets."""
        return sum(self.errors_percent) / len(self.errors_percent)

    @property
    def accuracy_percent(self) -> float:
        return 100.0 - self.error_percent

    @property
    def accuracies_percent(self) -> tuple[float, ...]:
        """Of an only data set; of several the mean, and then each."""
        each = tuple(100.0 - error for error in self.errors_percent)
        return each if len(each) == 1 else (self.accuracy_percent, *each)

    def cost(self, name: str) -> Cost | None:
        return next((cost for cost in self.costs if cost.name == name), None)

    def meets(self, budgets: Sequence[Budget]) -> bool | None:
        """Whether it keeps all budgets; None where a cost is not known."""
        found = [(self.cost(budget.objective), budget) for budget in budgets]
        if any(cost is not None and not cost.meets(budget) for cost, budget in found):
            return False
        return None if any(cost is None for cost, _ in found) else True
