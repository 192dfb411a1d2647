"""An axis of a drawing: where values lie, and which round ones are written beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Values from `low` to `high` laid out from pixel `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    @staticmethod
    def over(values: Sequence[float], start: float, end: float) -> "Axis":
        """An axis that holds all values, at least one, with some room beside them."""
        low, high = min(values), max(values)
        margin = 0.06 * (high - low) or max(abs(high) * 0.1, 1e-9)
        return Axis(low=low - margin, high=high + margin, start=start, end=end)

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int = 7, least_step: float = 0.0) -> list[float]:
        """Round values inside, 1, 2 or 5 times a power of ten apart, at least `least_step`."""
        rough = max((self.high - self.low) / most, least_step)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [round(number * step, 12) for number in range(first, last + 1)]
