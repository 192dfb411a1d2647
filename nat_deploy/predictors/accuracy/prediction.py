"""What an accuracy surrogate answers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyPrediction:
    """Top-1 error of `n` architectures in percent.

    mean    shape `(n,)`, float64
    std     shape `(n,)`, float64: how far the truth may lie from the mean; for ensembles, the spread of the members
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
