"""The evaluator of a search: one supernet per data set, all asked about the same architectures."""

from collections.abc import Iterator, Mapping, Sequence

from nat_deploy.spaces import Architecture
from nat_deploy.training.evaluator import SupernetEvaluator


class JointEvaluator:
    """Evaluates in this process, a few architectures on each data set in turn.

    Args:
        supernets: By the names of their error objectives; all of the same space but for the number of classes.
    """

    def __init__(self, supernets: Mapping[str, SupernetEvaluator]) -> None:
        self.supernets = supernets

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[tuple[float, ...]]:
        """Top-1 errors in percent on validation images, one tuple per architecture, with one value per supernet."""
        yield from zip(*(supernet.evaluate(architectures) for supernet in self.supernets.values()), strict=True)
