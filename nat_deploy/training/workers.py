"""Many subnets scored at once, by workers that may be lost.

A workplace is where workers run: processes of this machine, or a cluster. Every worker computes on one thread, so on a CPU a score
does not depend on how many there are.
"""

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Protocol

import numpy as np
import torch

from nat_deploy.errors import InputError, WorkError
from nat_deploy.supernets import Supernet, load_supernet, save_supernet
from nat_deploy.training.evaluate import Accuracy, ScoringImages, score

Group = Sequence[tuple[int, ...]]
"""Genes of subnets that a worker scores together, because those that begin alike share that work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker does at a time: a group of subnets of the supernet of one data set, by its place."""

    data_set: int
    group: Group


class WorkerLostError(Exception):
    """A worker ended before it answered; the text says how."""


class Worker(Protocol):
    """Does one task at a time."""

    def score(self, task: Task) -> list[Accuracy]:
        """Accuracies with the weights that its workplace published last for that data set.

        Raises:
            WorkerLostError: The worker is gone.
            WorkError: One of the subnets cannot be scored.
        """
        ...

    def close(self) -> None:
        """End it now; it may be gone already."""
        ...


class Workplace(Protocol):
    """Where workers run; all of them have the same images of every data set."""

    max_workers: int
    """As many as there are CPU cores."""

    def publish(self, data_set: int, supernet: bytes) -> None:
        """From now on workers use the weights of this supernet file for that data set."""
        ...

    def hire(self) -> Worker:
        """A new worker; it may still be starting."""
        ...

    def close(self) -> None:
        """Leave nothing behind; all workers are closed before."""
        ...


class WorkerPool:
    """As many workers as were asked for, hired when they are needed; a context manager.

    Raises:
        InputError: The workplace has fewer cores.
    """

    def __init__(self, workplace: Workplace, num_workers: int) -> None:
        check_num_workers(num_workers, workplace.max_workers)
        self._workplace = workplace
        self.num_workers = num_workers
        self._hired: list[Worker] = []
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._hiring = threading.Lock()
        self._is_open = True

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._hiring:
            self._is_open = False
        for worker in self._hired:
            worker.close()

    def publish(self, data_set: int, supernet: Supernet) -> None:
        """Score with these weights on that data set from now on."""
        self._workplace.publish(data_set, _supernet_file(supernet))

    def scores(self, tasks: Sequence[Task]) -> Iterator[list[Accuracy]]:
        """Accuracies of each task, in order, each as soon as it and all before it are done.

        A task whose worker is lost goes to another worker.

        Raises:
            WorkError: Two workers were lost with the same task, or a subnet of it cannot be scored.
        """
        waiting = ThreadPoolExecutor(max_workers=self.num_workers)  # a thread waits for one worker at a time
        try:
            yield from waiting.map(self._score, tasks)
        finally:
            waiting.shutdown(wait=False, cancel_futures=True)

    def _score(self, task: Task) -> list[Accuracy]:
        losses: list[str] = []
        while len(losses) < 2:
            worker = self._take()
            try:
                accuracies = worker.score(task)
            except WorkerLostError as lost:
                losses.append(str(lost))
                worker.close()
            else:
                self._idle.put(worker)
                return accuracies
        raise WorkError(
            f"each network must be evaluated by a worker, but two were lost with genes {describe_genes(task.group)} "
            f"({'; '.join(losses)}); free some memory or use fewer --workers, then resume"
        )

    def _take(self) -> Worker:
        with self._hiring:
            if not self._is_open:
                raise WorkerLostError("the pool is closed")
            with contextlib.suppress(queue.Empty):
                return self._idle.get_nowait()
            worker = self._workplace.hire()
            self._hired.append(worker)
            return worker


def describe_genes(group: Group) -> str:
    """For error sentences."""
    return " and ".join(",".join(map(str, genes)) for genes in group)


def check_num_workers(num_workers: int, num_cores: int) -> None:
    """Raise InputError unless there is a core for each worker."""
    if not 1 <= num_workers <= num_cores:
        raise InputError(
            f"--workers must be at least 1 and at most {num_cores}, the number of CPU cores, but it is {num_workers}; "
            "choose a number between"
        )


class SubnetScorer:
    """What a worker is inside, for one data set: images, and a supernet that can be exchanged."""

    def __init__(self, images: ScoringImages) -> None:
        torch.set_num_threads(1)
        self._images = images
        self._supernet: Supernet | None = None

    def load(self, path: Path) -> None:
        """Take the weights of a supernet file."""
        self._supernet = load_supernet(path)[0].eval()

    def score(self, group: Group) -> list[Accuracy]:
        if self._supernet is None:
            raise ValueError("weights must be loaded before a subnet is scored")
        architectures = [self._supernet.space.decode(np.array(genes, dtype=np.int64)) for genes in group]
        return score(self._supernet, architectures, self._images)


def _supernet_file(supernet: Supernet) -> bytes:
    """The content of a supernet file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "supernet.safetensors"
        names = tuple(map(str, range(supernet.space.num_classes)))
        save_supernet(path, supernet, class_names=names, trained_on="a search")
        return path.read_bytes()
