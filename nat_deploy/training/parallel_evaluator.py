"""The evaluator of a search whose subnets are scored by workers."""

import math
from collections.abc import Iterator, Mapping, Sequence

from nat_deploy.spaces import Architecture
from nat_deploy.training.evaluator import TOGETHER, SupernetEvaluator
from nat_deploy.training.workers import Task, WorkerPool


class ParallelEvaluator:
    """Adapts in this process and evaluates in a pool of workers, with the same errors as `JointEvaluator`.

    Args:
        supernets: By the names of their error objectives; all of the same space but for the number of classes.
        pool: Workers that have the `scoring_images` of each, in the same order.
    """

    def __init__(self, supernets: Mapping[str, SupernetEvaluator], pool: WorkerPool) -> None:
        self.supernets = supernets
        self._pool = pool
        self._published: dict[int, int] = {}  # version of the weights that the workers have, by the place of the supernet

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[tuple[float, ...]]:
        """Top-1 errors in percent on validation images, in order, one tuple per architecture, each as soon as it and all before it are there.

        Raises:
            WorkError: A subnet cannot be evaluated, or two workers were lost with it.
        """
        supernets = list(self.supernets.values())
        for place, evaluator in enumerate(supernets):
            if self._published.get(place) != evaluator.version:
                self._pool.publish(place, evaluator.supernet)
                self._published[place] = evaluator.version
        space = supernets[0].supernet.space
        genes = [tuple(map(int, space.encode(architecture))) for architecture in architectures]
        size = _group_size(len(genes), self._pool.num_workers, len(supernets))
        groups = [genes[start : start + size] for start in range(0, len(genes), size)]
        scores = self._pool.scores([Task(data_set=place, group=group) for group in groups for place in range(len(supernets))])
        for _ in groups:
            scored = [next(scores) for _ in supernets]
            for accuracies in zip(*scored, strict=True):
                yield tuple(accuracy.error_percent for accuracy in accuracies)


def _group_size(num_subnets: int, num_workers: int, num_data_sets: int) -> int:
    """At most `TOGETHER`, and such that all workers end at about the same time."""
    num_scores = num_subnets * num_data_sets
    turns = max(1, math.ceil(num_scores / (num_workers * TOGETHER)))
    return max(1, min(num_subnets, math.ceil(num_scores / (num_workers * turns))))
