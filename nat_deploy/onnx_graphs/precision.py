"""In which numbers a graph computes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "fp16", "int8"]
Int8Form = Literal["onnxruntime", "tensorrt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What a tensor's values lie between; values outside saturate. Zero always lies inside, so that padding stays exact."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -float("inf") < self.low <= 0 <= self.high < float("inf"):
            raise ValueError(f"a range must be finite and hold 0, but it is {self.low} to {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """How a graph becomes int8.

    ranges        of every tensor by its name in the fp32 graph with folded batch norms; None takes ranges that suit random
                  weights, which is enough for measuring time
    float_layers  names of convolutions and linear layers, as `0.conv` or `7.se_expand`, that stay in float
    form          which runtime's rules are kept: "onnxruntime" has unsigned activations with zero points and an integer
                  kernel for every step, "tensorrt" signed ones without, and integers only where layers multiply
    """

    ranges: Mapping[str, Range] | None = None
    float_layers: frozenset[str] = frozenset()
    form: Int8Form = "onnxruntime"
