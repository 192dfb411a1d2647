"""What a search tells while it runs: values for a progress bar."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Step = Literal["check budgets", "fit surrogate", "evolve", "adapt", "evaluate", "measure", "measure finalists"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchEvent:
    """`done` of `total` parts of a step are finished; iteration 0 is the initial archive."""

    step: Step
    iteration: int
    done: int
    total: int


OnEvent = Callable[[SearchEvent], None]
