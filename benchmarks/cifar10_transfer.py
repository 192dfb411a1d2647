"""From the shipped supernet to CIFAR-10 by one search on small images, beside the published figures for this setting (at most 64 px).

    python benchmarks/cifar10_transfer.py --data cifar10/ --out RUN [--train-on cuda] [--threads 1]

A search without a budget; then every network of its front, chosen on validation images, is judged on the 10,000 test images with the search's weights as they
are, without fine-tuning. Stopped at any time, it goes on when called again, or with `--judge` judges what it has come to. Published: the front of the NAT-like baseline and of NATv2 (early exits, dense
skips) in the executive summary of the NATv2 author's thesis, read off its figures.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from benchmarks.last_archive import LastArchive
from benchmarks.machine import circumstances
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
    parser.add_argument("--judge", action="store_true", help="search no further, judge the last finished iteration")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    resolutions = tuple(int(size) for size in args.resolutions.split(","))
    log, cpu_started = Log(), time.process_time()
    if not args.judge:
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
        search_network(request, args.out, log, resume=True)
    wall, cpu = time.perf_counter() - log.started, time.process_time() - cpu_started

    run = RunFolder.read(args.out)
    archive = LastArchive.of(run)
    pretrained, info = load_supernet(args.supernet)
    data = load_data(args.data, image_size=max(resolutions), seed=0, max_train=args.max_train)
    assert data.test is not None, "the data set needs a test part"
    evaluator = SupernetEvaluator(prepare_supernet(pretrained, data, resolutions, seed=0), data, EvaluatorSettings())
    run.load_newest_checkpoint(ERROR, evaluator)
    space = evaluator.supernet.space
    front = archive.front_by_macs(space)
    architectures = [space.decode(archive.genes[row]) for row in front]
    counts = space.count(archive.genes[front])
    tested = evaluate(evaluator.supernet, architectures, training_images=data.train, images=data.test)
    rows = [
        {
            "macs": int(counts.macs[place]),
            "num_params": int(counts.num_params[place]),
            "resolution": architectures[place].resolution,
            "validation_top1_percent": round(100 - float(archive.errors_percent[row]), 2),
            "test_top1_percent": round(tested[place].top1_percent, 2),
        }
        for place, row in enumerate(front)
    ]
    result = {
        "circumstances": circumstances("natdeploy", "torch"),
        "supernet": info.trained_on,
        "settings": {name: str(value) for name, value in vars(args).items() if name not in ("out", "data", "supernet", "judge")},
        "training_images": len(data.train),
        "search_wall_s": round(wall),  # of this call
        "search_cpu_s": round(cpu),
        "finished_iterations": archive.iteration,
        "weights": {
            "validation": archive.version,
            "test": evaluator.version,
        },  # one newer, where it stopped between adapting and evaluating
        "front_by_macs": rows,
        "published_macs_millions_and_top1": PUBLISHED,
        "published_best": BEST_PUBLISHED,
    }
    text = json.dumps(result, indent=1)
    (args.out / "cifar10_transfer.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
