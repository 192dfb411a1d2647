"""Evaluation on a Ray cluster, which is started here: a single test, because starting takes seconds."""

import contextlib
import os
import signal
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from nat_deploy.data import DataSplits
from nat_deploy.errors import MissingError, WorkError
from nat_deploy.training.adapt import AdaptationSettings
from nat_deploy.training.cluster import RayWorker, RayWorkplace, check_ray
from nat_deploy.training.evaluate import CalibrationSettings
from nat_deploy.training.evaluator import EvaluatorSettings, SupernetEvaluator
from nat_deploy.training.joint_evaluator import JointEvaluator
from nat_deploy.training.parallel_evaluator import ParallelEvaluator
from nat_deploy.training.workers import Task, WorkerPool

from .test_learning import SmallestOnly, make_supernet

QUICK = AdaptationSettings(epochs=0.1, learning_rate=4e-3)
SETTINGS = EvaluatorSettings(
    first=QUICK, further=QUICK, calibration=CalibrationSettings(num_images=64, batch_size=32), max_images=64
)


class RememberingWorkplace(RayWorkplace):
    """Knows the workers it hired."""

    def hire(self) -> RayWorker:
        worker = super().hire()
        self.hired = [*getattr(self, "hired", []), worker]
        return worker


@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'natdeploy[cluster]'")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_a_cluster_gives_the_serial_errors_even_when_a_worker_is_killed(digits: DataSplits) -> None:
    serial = SupernetEvaluator(make_supernet(), digits, SETTINGS)
    space = serial.supernet.space
    architectures = [space.decode(genes) for genes in space.sample(np.random.default_rng(0), 4)]
    joint = JointEvaluator({"error_percent": serial})
    workplace = RememberingWorkplace("local", [serial.scoring_images])
    with contextlib.closing(workplace), WorkerPool(workplace, 1) as pool:
        parallel = ParallelEvaluator(joint.supernets, pool)
        before = list(joint.evaluate(architectures))
        assert list(parallel.evaluate(architectures)) == before
        serial.adapt(SmallestOnly(space), np.random.default_rng(0))
        os.kill(workplace.hired[0].pid, signal.SIGKILL)
        assert list(parallel.evaluate(architectures)) == list(joint.evaluate(architectures)) != before
        assert len(workplace.hired) == 2
        with pytest.raises(WorkError, match=r"genes 99 could not be evaluated: ArchitectureError: genes must have shape"):
            list(pool.scores([Task(data_set=0, group=((99,),))]))


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingError, match=r"pip install 'natdeploy\[cluster\]'"):
        check_ray()
