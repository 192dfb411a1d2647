"""Workers that are processes of this machine, started afresh (not forked) and spoken to in lines of JSON.

A worker ends by itself when its input ends, so none outlives this process, however that ends.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nat_deploy.errors import WorkError
from nat_deploy.files import write_atomically, writing_error
from nat_deploy.training.evaluate import Accuracy, ScoringImages
from nat_deploy.training.scoring_file import scoring_file
from nat_deploy.training.workers import Task, WorkerLostError, check_num_workers, describe_genes

_PACKAGES = Path(__file__).parents[2]


class ProcessWorkplace:
    """This machine's cores; images and weights are shared through files in `folder`, which goes at the end."""

    def __init__(self, folder: Path, images: Sequence[ScoringImages]) -> None:
        self.max_workers = num_cores()
        self.images = [folder / f"images-{data_set}.safetensors" for data_set in range(len(images))]
        self.supernets = [folder / f"supernet-{data_set}-0.safetensors" for data_set in range(len(images))]
        self._num_published = 0
        self._folder = folder
        self.close()  # what a killed run left
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise writing_error(folder, error) from error
        for path, of_one in zip(self.images, images, strict=True):
            write_atomically(path, scoring_file(of_one))

    def publish(self, data_set: int, supernet: bytes) -> None:
        self.supernets[data_set].unlink(missing_ok=True)
        self._num_published += 1  # in the name, so that a worker sees that it is another file
        self.supernets[data_set] = self._folder / f"supernet-{data_set}-{self._num_published}.safetensors"
        write_atomically(self.supernets[data_set], supernet)

    def hire(self) -> "ProcessWorker":
        return ProcessWorker(self)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class ProcessWorker:
    """One process, running `scoring_process`."""

    def __init__(self, workplace: ProcessWorkplace) -> None:
        self._workplace = workplace
        paths = [str(_PACKAGES), os.environ.get("PYTHONPATH", "")]  # the very code that runs here, installed or not
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nat_deploy.training.scoring_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def score(self, task: Task) -> list[Accuracy]:
        images, supernet = self._workplace.images[task.data_set], self._workplace.supernets[task.data_set]
        answer = self._ask(json.dumps({"images": str(images), "supernet": str(supernet), "genes": list(task.group)}))
        if not answer.endswith("\n"):  # half a line, or none
            raise WorkerLostError(_describe_end(self._process.wait()))
        document = json.loads(answer)
        if "error" in document:
            raise WorkError(f"network with genes {describe_genes(task.group)} could not be evaluated: {document['error']}")
        return [Accuracy(**accuracy) for accuracy in document["accuracies"]]

    def close(self) -> None:
        self._process.kill()  # it has nothing to lose
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # what could not be sent before it ended
                pass

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            return self._process.stdout.readline()
        except (OSError, ValueError):  # ended, or closed from another thread
            return ""


def check_num_processes(num_workers: int) -> None:
    """Raise InputError unless this machine has a core for each worker."""
    check_num_workers(num_workers, num_cores())


def num_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _describe_end(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
