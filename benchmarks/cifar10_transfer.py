"""From the shipped supernet to CIFAR-10 by one search on small images, beside the published figures for this setting (at most 64 px).

    python benchmarks/cifar10_transfer.py --data cifar10/ --out RUN [--train-on cuda] [--threads 1]

A search without a budget; then every network of its front, chosen on validation images, is judged on the 10,000 test images with the search's weights as they
are, without fine-tuning. Stopped at any time, it goes on when called again. Published: the front of the NAT-like baseline and of NATv2 (early exits, dense
skips) in the executive summary of the NATv2 author's thesis, read off its figures.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from machine import circumstances

from nat_deploy.data import load_data
from nat_deploy.search import ERROR, RunFolder, SearchEvent
from nat_deploy.supernets import load_supernet
from nat_deploy.training.adapt import prepare_supernet
from nat_deploy.training.evaluate import evaluate
from nat_deploy.training.evaluator import EvaluatorSettings, SupernetEvaluator
from nat_deploy.walk import SearchRequest, search_network, shipped_supernet
from nat_deploy.walk.search import SilentListener

PUBLISHED = {  # millions of MACs, test accuracy in percent
    "NAT-like baseline": ((7.8, 85.65), (9.0, 86.6), (10.2, 88.2), (15.4, 90.0)),
    "NATv2, supernet EE_D": ((2.8, 83.3), (4.6, 88.9), (6.35, 90.35), (8.8, 91.0)),
}
BEST_PUBLISHED = {"NAT-like baseline": 90.73, "NATv2 with post-processing": 93.06}


class Log(SilentListener):
    """A line per finished step, with the time since the start."""

    def __init__(self) -> None:
        self.started = time.perf_counter()

    def on_train(self, done: int, total: int) -> None:
        if done == total:
            self.say(f"adapted in {total} steps")

    def on_search(self, event: SearchEvent) -> None:
        if event.done == event.total and event.step in ("evaluate", "measure finalists"):
            self.say(f"iteration {event.iteration}: {event.step}")

    def say(self, text: str) -> None:
        print(f"{time.perf_counter() - self.started:7.0f} s  {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--supernet", type=Path, default=shipped_supernet())
    parser.add_argument("--resolutions", default="32,40,48")
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--first-epochs", type=float, default=6)
    parser.add_argument("--further-epochs", type=float, default=1)
    parser.add_argument("--max-train", type=int)
    parser.add_argument("--train-on", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    resolutions = tuple(int(size) for size in args.resolutions.split(","))
    log, cpu_started = Log(), time.process_time()
    request = SearchRequest(
        prefer="knee",
        data=(args.data,),
        supernet=str(args.supernet),
        resolutions=resolutions,
        effort=args.effort,
        iterations=args.iterations,
        first_epochs=args.first_epochs,
        further_epochs=args.further_epochs,
        max_train=args.max_train,
        train_on=args.train_on,
    )
    found = search_network(request, args.out, log, resume=True)
    wall, cpu = time.perf_counter() - log.started, time.process_time() - cpu_started

    pretrained, info = load_supernet(args.supernet)
    data = load_data(args.data, image_size=max(resolutions), seed=0, max_train=args.max_train)
    evaluator = SupernetEvaluator(prepare_supernet(pretrained, data, resolutions, seed=0), data, EvaluatorSettings())
    RunFolder.read(args.out).load_newest_checkpoint(ERROR, evaluator)
    front = found.result.front
    errors, counts = front.column(ERROR), found.space.count(front.genes)
    order = [i for i in np.argsort(counts.macs) if not (errors[counts.macs <= counts.macs[i]] < errors[i]).any()]
    assert data.test is not None, "the data set needs a test part"
    architectures = [found.space.decode(front.genes[i]) for i in order]
    tested = evaluate(evaluator.supernet, architectures, training_images=data.train, images=data.test)
    rows = [
        {
            "macs": int(counts.macs[i]),
            "num_params": int(counts.num_params[i]),
            "resolution": architecture.resolution,
            "validation_top1_percent": round(100 - float(errors[i]), 2),
            "test_top1_percent": round(accuracy.top1_percent, 2),
        }
        for i, architecture, accuracy in zip(order, architectures, tested, strict=True)
    ]
    result = {
        "circumstances": circumstances("natdeploy", "torch"),
        "supernet": info.trained_on,
        "settings": {name: str(value) for name, value in vars(args).items() if name not in ("out", "data", "supernet")},
        "training_images": len(data.train),
        "search_wall_s": round(wall),
        "search_cpu_s": round(cpu),
        "front_by_macs": rows,
        "published_macs_millions_and_top1": PUBLISHED,
        "published_best": BEST_PUBLISHED,
    }
    text = json.dumps(result, indent=1)
    (args.out / "cifar10_transfer.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
