"""The evaluator of a search whose subnets are scored by workers."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nat_deploy.spaces import Architecture
from nat_deploy.training.adapt import GeneSampler
from nat_deploy.training.evaluator import TOGETHER, SupernetEvaluator
from nat_deploy.training.workers import WorkerPool


class ParallelEvaluator:
    """Adapts in this process and evaluates in a pool of workers, with the same errors as `evaluator` itself.

    Args:
        evaluator: Supernet and data.
        pool: Workers that have the evaluator's `scoring_images`.
    """

    def __init__(self, evaluator: SupernetEvaluator, pool: WorkerPool) -> None:
        self._evaluator = evaluator
        self._pool = pool
        self._workers_know = False

    @property
    def version(self) -> int:
        return self._evaluator.version

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[float]:
        """Top-1 errors in percent on validation images, in order, each as soon as it and all before it are there.

        Raises:
            WorkError: A subnet cannot be evaluated, or two workers were lost with it.
        """
        if not self._workers_know:
            self._pool.publish(self._evaluator.supernet)
            self._workers_know = True
        space = self._evaluator.supernet.space
        genes = [tuple(map(int, space.encode(architecture))) for architecture in architectures]
        size = _group_size(len(genes), self._pool.num_workers)
        for accuracy in self._pool.scores([genes[start : start + size] for start in range(0, len(genes), size)]):
            yield accuracy.error_percent

    def adapt(self, distribution: GeneSampler, rng: np.random.Generator) -> None:
        self._workers_know = False
        self._evaluator.adapt(distribution, rng)

    def save(self, path: Path) -> None:
        self._evaluator.save(path)

    def load(self, path: Path) -> None:
        self._workers_know = False
        self._evaluator.load(path)


def _group_size(num_subnets: int, num_workers: int) -> int:
    """At most `TOGETHER`, and such that all workers end at about the same time."""
    turns = max(1, math.ceil(num_subnets / (num_workers * TOGETHER)))
    return max(1, math.ceil(num_subnets / (num_workers * turns)))
