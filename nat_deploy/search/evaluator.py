"""The seam to the supernets: whatever can tell errors of architectures and adapt its weights to a distribution of them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from nat_deploy.search.distribution import ArchitectureDistribution
from nat_deploy.spaces import Architecture


class AdaptableSupernet(Protocol):
    """A supernet with the data set that it is adapted to."""

    @property
    def version(self) -> int:
        """Age of the weights: 0 when constructed, one more after each `adapt`, restored by `load`."""
        ...

    def adapt(self, distribution: ArchitectureDistribution, rng: np.random.Generator) -> None:
        """Train the weights on architectures drawn from `distribution`; all randomness comes from `rng`."""
        ...

    def save(self, path: Path) -> None:
        """Write weights and version to one new file."""
        ...

    def load(self, path: Path) -> None:
        """Restore what `save` wrote."""
        ...


class Evaluator(Protocol):
    """One supernet per data set. For a resumed search to give the same result, its answers depend on the weights and the arguments alone."""

    @property
    def supernets(self) -> Mapping[str, AdaptableSupernet]:
        """By the names of the error objectives, in their order."""
        ...

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterable[Sequence[float]]:
        """Top-1 errors in percent on validation images, in the order of `architectures`, each with one value per supernet.

        The answer for one does not depend on the others. Answers may come one by one: the search writes each down before it asks for the next.
        """
        ...
