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
from nat_deploy.training.workers import Group, SubnetScorer, WorkerLostError, describe_genes


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

    def __init__(self, address: str, images: ScoringImages) -> None:
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
        self._images = ray.put(scoring_file(images))
        self.supernet: Any = None

    def publish(self, supernet: bytes) -> None:
        self.supernet = self._ray.put(supernet)

    def hire(self) -> "RayWorker":
        # named by the module, so that the cluster imports the class instead of receiving its code
        actor = self._ray.remote(num_cpus=1)(_Scorer).remote(self._images)
        return RayWorker(self._ray, actor, self)

    def close(self) -> None:
        self._ray.shutdown()


class RayWorker:
    """One actor on some machine of the cluster."""

    def __init__(self, ray: Any, actor: Any, workplace: RayWorkplace) -> None:
        self._ray = ray
        self._actor = actor
        self._workplace = workplace

    def score(self, group: Group) -> list[Accuracy]:
        errors = self._ray.exceptions
        try:
            # in a list a reference stays one: the actor fetches the weights only when they are new to it
            found: list[Accuracy] = self._ray.get(self._actor.score.remote([self._workplace.supernet], group))
        except errors.RayTaskError as error:
            raise WorkError(
                f"network with genes {describe_genes(group)} could not be evaluated: {type(error.cause).__name__}: {error.cause}"
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

    def __init__(self, images: bytes) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "images.safetensors"
            path.write_bytes(images)
            self._scorer = SubnetScorer(load_scoring_file(path))
        self._loaded: Any = None

    def pid(self) -> int:
        return os.getpid()

    def score(self, supernet: Sequence[Any], group: Group) -> list[Accuracy]:
        import ray

        (reference,) = supernet
        if reference != self._loaded:
            with TemporaryDirectory() as folder:
                path = Path(folder) / "supernet.safetensors"
                path.write_bytes(ray.get(reference))
                self._scorer.load(path)
            self._loaded = reference
        return self._scorer.score(group)
