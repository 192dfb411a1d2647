"""Workers on a Ray cluster; every machine of it has the same version of natdeploy."""

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nat_deploy.errors import MissingError, WorkError
from nat_deploy.training.evaluate import Accuracy, ScoringImages
from nat_deploy.training.scoring_file import load_scoring_file, scoring_file
from nat_deploy.training.workers import Group, SubnetScorer, Task, WorkerLostError, describe_genes


def check_ray() -> None:
    """Raise MissingError unless Ray is installed."""
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise MissingError(
            "a cluster needs the Python package 'ray', but it is not installed; run: pip install 'natdeploy[cluster]'"
        ) from error


class RayWorkplace:
    """The CPU cores of a cluster; images and weights lie in its object store.

    Args:
        address: Of the cluster: "HOST:PORT", "auto" for one that runs on this machine, "local" to start one here.

    Raises:
        MissingError: Ray is not installed.
        WorkError: There is no cluster at the address.
    """

    def __init__(self, address: str, images: Sequence[ScoringImages]) -> None:
        check_ray()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a search tells nobody that it runs
        import ray

        self._ray = ray
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise WorkError(
                f"a Ray cluster must be reachable at '{address}', but it is not ({error}); start one with: ray start --head"
            ) from error
        self.max_workers = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        self._images = [ray.put(scoring_file(of_one)) for of_one in images]
        self._supernets: list[Any] = [None] * len(images)

    def publish(self, data_set: int, supernet: bytes) -> None:
        self._supernets[data_set] = self._ray.put(supernet)

    def references(self, data_set: int) -> list[Any]:
        """Images and weights in the object store; in a list a reference stays one, so that an actor fetches only what is new to it."""
        return [self._images[data_set], self._supernets[data_set]]

    def hire(self) -> "RayWorker":
        # named by the module, so that the cluster imports the class instead of receiving its code
        actor = self._ray.remote(num_cpus=1)(_Scorer).remote()
        return RayWorker(self._ray, actor, self)

    def close(self) -> None:
        self._ray.shutdown()


class RayWorker:
    """One actor on some machine of the cluster."""

    def __init__(self, ray: Any, actor: Any, workplace: RayWorkplace) -> None:
        self._ray = ray
        self._actor = actor
        self._workplace = workplace

    def score(self, task: Task) -> list[Accuracy]:
        errors = self._ray.exceptions
        try:
            found: list[Accuracy] = self._ray.get(self._actor.score.remote(self._workplace.references(task.data_set), task.group))
        except errors.RayTaskError as error:
            raise WorkError(
                f"network with genes {describe_genes(task.group)} could not be evaluated: {type(error.cause).__name__}: {error.cause}"
            ) from error
        except (errors.RayError, ConnectionError) as error:
            raise WorkerLostError(str(error).strip().partition("\n")[0]) from error
        return found

    @property
    def pid(self) -> int:
        """Of its process, on its machine."""
        pid: int = self._ray.get(self._actor.pid.remote())
        return pid

    def close(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, RuntimeError):
            self._ray.kill(self._actor)


class _Scorer:
    """The inside of an actor."""

    def __init__(self) -> None:
        self._scorers: dict[Any, SubnetScorer] = {}  # by the reference to their images
        self._loaded: dict[Any, Any] = {}

    def pid(self) -> int:
        return os.getpid()

    def score(self, references: Sequence[Any], group: Group) -> list[Accuracy]:
        images, supernet = references
        with TemporaryDirectory() as folder:
            if images not in self._scorers:
                self._scorers[images] = SubnetScorer(load_scoring_file(_fetch(images, Path(folder) / "images.safetensors")))
            if self._loaded.get(images) != supernet:
                self._scorers[images].load(_fetch(supernet, Path(folder) / "supernet.safetensors"))
                self._loaded[images] = supernet
        return self._scorers[images].score(group)


def _fetch(reference: Any, path: Path) -> Path:
    import ray

    path.write_bytes(ray.get(reference))
    return path
