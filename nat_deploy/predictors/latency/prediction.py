"""What every latency predictor answers, and what it can be asked."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nat_deploy.spaces import Genes
from profilers.target import Target

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Latencies of `n` networks in ms of one batch; each a float64 array of shape `(n,)`.

    `low` to `high` holds the measured latency of about 95 of 100 unseen networks that resemble the measured ones.
    """

    value: FloatArray
    low: FloatArray
    high: FloatArray

    def __post_init__(self) -> None:
        if not self.value.shape == self.low.shape == self.high.shape or self.value.ndim != 1:
            raise ValueError("value, low and high of a prediction must be vectors of one length")


class LatencyPredictor(Protocol):
    """Latency of any architecture of one space on one target."""

    @property
    def target(self) -> Target: ...

    def predict(self, genes: Genes) -> Prediction:
        """Latencies of architectures given as genes, shape `(n, num_genes)`."""
        ...

    def is_outside(self, genes: Genes) -> NDArray[np.bool_]:
        """Whether each network lies outside what the predictor was fitted on, shape `(n,)`: its interval is then a guess."""
        ...
