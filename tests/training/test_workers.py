"""Evaluation by workers: the same errors as without, whatever happens to the workers."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.data import DataSplits
from nat_deploy.errors import InputError, WorkError
from nat_deploy.training.adapt import AdaptationSettings
from nat_deploy.training.evaluate import Accuracy, CalibrationSettings, ScoringImages
from nat_deploy.training.evaluator import EvaluatorSettings, SupernetEvaluator
from nat_deploy.training.joint_evaluator import JointEvaluator
from nat_deploy.training.parallel_evaluator import ParallelEvaluator
from nat_deploy.training.scoring_file import load_scoring_file, scoring_file
from nat_deploy.training.worker_processes import ProcessWorker, ProcessWorkplace
from nat_deploy.training.workers import Task, WorkerLostError, WorkerPool

from .test_learning import SmallestOnly, make_supernet

ROOT = Path(__file__).parents[2]


class FakeWorkplace:
    """Its workers score `(accuracy, delay)`; as many as `kills` says are lost with each of its subnets."""

    max_workers = 4

    def __init__(self, kills: dict[tuple[int, ...], int] | None = None) -> None:
        self.kills = kills or {}
        self.hired: list[FakeWorker] = []

    def publish(self, data_set: int, supernet: bytes) -> None: ...

    def hire(self) -> "FakeWorker":
        self.hired.append(FakeWorker(self))
        return self.hired[-1]

    def close(self) -> None: ...


class FakeWorker:
    def __init__(self, workplace: FakeWorkplace) -> None:
        self.workplace = workplace
        self.is_closed = False
        self.num_scored = 0

    def score(self, task: Task) -> list[Accuracy]:
        (genes,) = task.group
        assert not self.is_closed, "a lost worker gets no more work"
        percent, delay = genes
        time.sleep(0.01 * delay)
        if percent == 13:
            raise WorkError("network 13 could not be evaluated")
        if self.workplace.kills.get(genes, 0):
            self.workplace.kills[genes] -= 1
            raise WorkerLostError("ended by signal 9")
        self.num_scored += 1
        return [Accuracy(num_right=percent, num_images=100)]

    def close(self) -> None:
        self.is_closed = True


def tasks(*genes: tuple[int, ...]) -> list[Task]:
    """One for each subnet."""
    return [Task(data_set=0, group=(one,)) for one in genes]


def percents(pool: WorkerPool, genes: list[tuple[int, ...]]) -> list[int]:
    return [accuracy.num_right for (accuracy,) in pool.scores(tasks(*genes))]


def test_scores_come_in_order_and_all_workers_work() -> None:
    workplace = FakeWorkplace()
    genes = [(percent, percent % 3) for percent in range(20, 40)]
    with WorkerPool(workplace, 3) as pool:
        assert percents(pool, genes) == list(range(20, 40))
        assert percents(pool, [(50, 0)]) == [50]
    assert [(worker.num_scored > 0, worker.is_closed) for worker in workplace.hired] == [(True, True)] * 3


def test_a_score_does_not_wait_for_later_ones() -> None:
    with WorkerPool(FakeWorkplace(), 2) as pool:
        scores = pool.scores(tasks((1, 0), (2, 50)))
        start = time.monotonic()
        assert next(scores)[0].num_right == 1
        assert time.monotonic() - start < 0.4
        assert next(scores)[0].num_right == 2


def test_the_subnet_of_a_lost_worker_goes_to_another() -> None:
    workplace = FakeWorkplace({(20, 0): 1, (30, 1): 1})
    with WorkerPool(workplace, 2) as pool:
        assert percents(pool, [(20, 0), (25, 0), (30, 1), (35, 0)]) == [20, 25, 30, 35]
    assert sum(worker.num_scored for worker in workplace.hired) == 4


def test_a_subnet_that_ends_two_workers_is_an_error_after_what_came_before_it() -> None:
    came: list[int] = []
    with (
        WorkerPool(FakeWorkplace({(30, 1): 2}), 2) as pool,
        pytest.raises(
            WorkError, match=r"two were lost with genes 30,1 \(ended by signal 9; ended by signal 9\); free some memory"
        ),
    ):
        came.extend(accuracy.num_right for (accuracy,) in pool.scores(tasks((20, 2), (30, 1), (40, 0))))
    assert came == [20]


def test_an_error_of_a_subnet_is_raised_and_the_pool_goes_on() -> None:
    with WorkerPool(FakeWorkplace(), 2) as pool:
        with pytest.raises(WorkError, match="network 13"):
            percents(pool, [(13, 0), (20, 0)])
        assert percents(pool, [(40, 0)]) == [40]


def test_a_pool_that_closes_amid_work_leaves_no_worker() -> None:
    workplace = FakeWorkplace()
    with WorkerPool(workplace, 2) as pool:
        scores = pool.scores(tasks(*((percent, 1) for percent in range(30))))
        assert next(scores)[0].num_right == 0
    assert all(worker.is_closed for worker in workplace.hired)


@pytest.mark.parametrize("count", [0, -1, 5])
def test_there_must_be_a_core_for_each_worker(count: int) -> None:
    with pytest.raises(InputError, match=rf"at least 1 and at most 4, the number of CPU cores, but it is {count}"):
        WorkerPool(FakeWorkplace(), count)


@pytest.fixture(scope="module")
def serial(digits: DataSplits) -> SupernetEvaluator:
    quick = AdaptationSettings(epochs=0.5, learning_rate=4e-3)
    calibration = CalibrationSettings(num_images=100, batch_size=48)
    settings = EvaluatorSettings(first=quick, further=quick, calibration=calibration, max_images=100)
    return SupernetEvaluator(make_supernet(), digits, settings)


def test_the_file_of_scoring_images_brings_them_back(serial: SupernetEvaluator, tmp_path: Path) -> None:
    path = tmp_path / "images.safetensors"
    path.write_bytes(scoring_file(serial.scoring_images))
    found, images = load_scoring_file(path), serial.scoring_images
    assert found.calibration_batch == 48
    for read, kept in ((found.calibration, images.calibration), (found.counted, images.counted)):
        assert len(read) == 100
        assert (read.images == kept.images).all()
        assert (read.labels == kept.labels).all()
        assert read.normalisation == kept.normalisation


class ProcessesToKill(ProcessWorkplace):
    """Remembers the processes it started."""

    def __init__(self, folder: Path, images: Sequence[ScoringImages]) -> None:
        super().__init__(folder, images)
        self.max_workers = 2  # also on a machine of one core
        self.pids: list[int] = []

    def hire(self) -> ProcessWorker:
        worker = super().hire()
        self.pids.append(worker.pid)
        return worker


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_give_the_serial_errors_even_when_one_is_killed(serial: SupernetEvaluator, tmp_path: Path) -> None:
    """On two data sets, the second with other weights and fewer images."""
    space = serial.supernet.space
    other = SupernetEvaluator(make_supernet(seed=1), serial.data, replace(serial.settings, max_images=60))
    supernets = {"error_percent@digits": serial, "error_percent@few": other}
    joint = JointEvaluator(supernets)
    architectures = [space.decode(genes) for genes in space.sample(np.random.default_rng(0), 8)]
    folder = tmp_path / "workers"
    workplace = ProcessesToKill(folder, [serial.scoring_images, other.scoring_images])
    before = list(joint.evaluate(architectures))
    assert list(zip(*before, strict=True)) == [tuple(one.evaluate(architectures)) for one in (serial, other)]
    with contextlib.closing(workplace), WorkerPool(workplace, 2) as pool:
        parallel = ParallelEvaluator(supernets, pool)
        assert list(parallel.evaluate(architectures)) == before
        serial.adapt(SmallestOnly(space), np.random.default_rng(0))
        after = parallel.evaluate(architectures)
        first = next(after)
        os.kill(workplace.pids[0], signal.SIGKILL)
        assert [first, *after] == list(joint.evaluate(architectures)) != before
        assert len(list(folder.iterdir())) == 4, "weights of older versions go"
        with pytest.raises(WorkError, match=r"genes 99 could not be evaluated: ArchitectureError: genes must have shape"):
            list(pool.scores(tasks((99,))))
    assert not any(map(is_running, workplace.pids))
    assert not folder.exists()


def test_what_a_killed_run_left_is_no_hindrance(serial: SupernetEvaluator, tmp_path: Path) -> None:
    folder = tmp_path / "workers"
    folder.mkdir()
    (folder / "supernet-7.safetensors").write_bytes(b"half")
    workplace = ProcessWorkplace(folder, [serial.scoring_images])
    assert [path.name for path in folder.iterdir()] == ["images-0.safetensors"]
    workplace.close()


def test_a_worker_ends_when_nobody_asks_any_more() -> None:
    """Also amid a subnet, and when the process that asked was killed: then its end of the pipe is closed too."""
    command = [sys.executable, "-m", "nat_deploy.training.scoring_process"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0
