"""Evaluation of subnets, with batch-norm calibration: one after the other on all threads, and by workers of one thread each.

    python benchmarks/parallel_evaluation.py --subnets 24 --rounds 5

Three ways with the same number of threads in all, interleaved: here, with as many threads as there are workers; one worker, with one
thread; all workers. Workers are started before anything is timed; the time of starting them is told beside. All ways give the same errors.
"""

import argparse
import json
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from datetime import date
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import cpu
from nat_deploy.data import load_data
from nat_deploy.search import ERROR
from nat_deploy.supernets import load_supernet
from nat_deploy.training.adapt import prepare_supernet
from nat_deploy.training.evaluator import EvaluatorSettings, SupernetEvaluator
from nat_deploy.training.joint_evaluator import JointEvaluator
from nat_deploy.training.parallel_evaluator import ParallelEvaluator
from nat_deploy.training.worker_processes import ProcessWorkplace
from nat_deploy.training.workers import WorkerPool
from nat_deploy.walk import shipped_supernet

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--subnets", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.workers)

    pretrained, info = load_supernet(shipped_supernet())
    data = load_data(args.data, image_size=max(info.resolutions), seed=0)
    serial = SupernetEvaluator(prepare_supernet(pretrained, data, info.resolutions, seed=0), data, EvaluatorSettings())
    space = serial.supernet.space
    architectures = [space.decode(genes) for genes in space.sample(np.random.default_rng(0), args.subnets)]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as held:
        supernets = {ERROR: serial}
        evaluators: dict[str, JointEvaluator | ParallelEvaluator] = {"serial": JointEvaluator(supernets)}
        starting_s = 0.0
        for count in (1, args.workers):
            workplace = held.enter_context(closing(ProcessWorkplace(Path(folder) / str(count), [serial.scoring_images])))
            evaluators[f"{count} workers"] = ParallelEvaluator(supernets, held.enter_context(WorkerPool(workplace, count)))
            begun = time.perf_counter()
            list(evaluators[f"{count} workers"].evaluate(architectures[:count]))
            starting_s = time.perf_counter() - begun
        seconds: dict[str, list[float]] = {name: [] for name in evaluators}
        errors: dict[str, list[tuple[float, ...]]] = {}
        for turn in range(args.rounds):
            names = list(evaluators) if turn % 2 == 0 else list(reversed(evaluators))
            for name in names:
                begun = time.perf_counter()
                errors[name] = list(evaluators[name].evaluate(architectures))
                seconds[name].append(time.perf_counter() - begun)
    all_workers = seconds[f"{args.workers} workers"]
    ratios = {
        name: sorted(other / mine for other, mine in zip(times, all_workers, strict=True))
        for name, times in seconds.items()
        if name != f"{args.workers} workers"
    }
    result = {
        "date": date.today().isoformat(),
        "settings": vars(args)
        | {"images_calibration": len(serial.scoring_images.calibration), "images_counted": len(serial.scoring_images.counted)},
        "median_s": {name: statistics.median(times) for name, times in seconds.items()},
        "faster_than": {
            name: {"median": statistics.median(found), "least": found[0], "most": found[-1]} for name, found in ratios.items()
        },
        "starting_workers_s": starting_s,
        "same_errors": len({tuple(found) for found in errors.values()}) == 1,
        "machine": cpu(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "parallel_evaluation.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
