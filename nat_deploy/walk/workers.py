"""Where a search evaluates its networks: in this process, in several, or on a cluster."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from nat_deploy.errors import InputError
from nat_deploy.search import Evaluator
from nat_deploy.training.cluster import RayWorkplace, check_ray
from nat_deploy.training.evaluator import SupernetEvaluator
from nat_deploy.training.joint_evaluator import JointEvaluator
from nat_deploy.training.parallel_evaluator import ParallelEvaluator
from nat_deploy.training.worker_processes import ProcessWorkplace, check_num_processes
from nat_deploy.training.workers import WorkerPool, Workplace
from nat_deploy.walk.request import SearchRequest


def check_workers(request: SearchRequest) -> None:
    """Find out before anything else is done whether there can be such workers.

    Raises:
        InputError: This machine has fewer cores, or the cluster lacks a number of workers.
        MissingError: Ray is not installed.
    """
    if request.cluster is not None:
        check_ray()
        if request.workers is None:
            raise InputError("--cluster needs a number of workers, but none came; add for example --workers 8")
    elif request.workers is not None:
        check_num_processes(request.workers)


@contextmanager
def working_evaluator(supernets: Mapping[str, SupernetEvaluator], request: SearchRequest, folder: Path) -> Iterator[Evaluator]:
    """The evaluator of a search, with the workers of the request while the block lasts.

    Args:
        supernets: By the names of their error objectives.
        folder: For what processes share; it is made, and goes at the end.

    Raises:
        InputError: There are fewer cores than workers.
        WorkError: The cluster cannot be reached.
    """
    if request.workers is None:
        yield JointEvaluator(supernets)
        return
    images = [evaluator.scoring_images for evaluator in supernets.values()]
    workplace: Workplace = ProcessWorkplace(folder, images) if request.cluster is None else RayWorkplace(request.cluster, images)
    with closing(workplace), WorkerPool(workplace, request.workers) as pool:
        yield ParallelEvaluator(supernets, pool)
