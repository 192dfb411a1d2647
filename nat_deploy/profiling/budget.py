"""Whether a measured network keeps a latency budget."""

from dataclasses import dataclass
from typing import Literal

from nat_deploy.predictors.latency import Statistic, Timing
from profilers.measurement import Measurement

Standing = Literal["within", "unsure", "over"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A measurement beside a budget.

    standing  "within": the whole 95 % interval keeps the budget; "over": none of it does; "unsure": the budget lies inside the
    interval
    """

    standing: Standing
    value_ms: float
    low_ms: float
    high_ms: float
    budget_ms: float

    @property
    def is_kept(self) -> bool:
        """Only a network that keeps the budget with its interval keeps it."""
        return self.standing == "within"


def judge(measured: Measurement | Timing, budget_ms: float, *, statistic: Statistic = "p25") -> Verdict:
    """Hold a measurement against a budget, in ms of one batch; by the statistic that the predictor was fitted on."""
    timing = measured if isinstance(measured, Timing) else Timing.of(measured)
    low, high = timing.interval_ms(statistic)
    standing: Standing = "within" if high <= budget_ms else "over" if low > budget_ms else "unsure"
    return Verdict(standing=standing, value_ms=timing.value_ms(statistic), low_ms=low, high_ms=high, budget_ms=budget_ms)
