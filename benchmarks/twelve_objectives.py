"""A search with twelve objectives on real images: errors on several data sets, latency of this CPU, MACs, parameters, memory.

    python benchmarks/twelve_objectives.py --data digits --data flowers5/ --cut cifar10/:3 --cut tiny_imagenet/:3 --out RUN

`--cut FOLDER:N` makes N data sets of it, each of other classes; with these arguments there are eight data sets. Prints the size of the front, the hypervolume
before and after each iteration (of it what adaptation gave), its seconds and those of this process on the CPU, and the accuracies of the chosen network beside those of guessing.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import circumstances
from nat_deploy.search import RunFolder, SearchEvent, non_dominated
from nat_deploy.spaces.subnet_file import load_subnet
from nat_deploy.walk import EFFORTS, SearchRequest, SilentListener, search_network

COSTS = ("macs", "params", "memory")
TEST_NAMES = ("test", "val")


class Clock(SilentListener):
    """When each iteration, and the measuring of finalists, began: seconds of the clock and of this process on the CPU."""

    def __init__(self) -> None:
        self.begun: dict[int | str, tuple[float, float]] = {}

    def on_search(self, event: SearchEvent) -> None:
        part = event.step if event.step == "measure finalists" else event.iteration
        self.begun.setdefault(part, now())
        if event.done == event.total:
            print(f"  iteration {event.iteration}: {event.step}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], help="a data set as it is; can be repeated")
    parser.add_argument(
        "--cut", action="append", default=[], help="FOLDER:N, a folder of images to cut N data sets from; can be repeated"
    )
    parser.add_argument("--classes", type=int, default=3, help="of each data set that is cut")
    parser.add_argument(
        "--images", type=int, default=300, help="most training images of each data set, and most test images of one that is cut"
    )
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--initial", type=int, default=12)
    parser.add_argument("--archive", type=int, default=16)
    parser.add_argument("--new", type=int, default=6)
    parser.add_argument("--first-epochs", type=float, default=3)
    parser.add_argument("--further-epochs", type=float, default=1)
    parser.add_argument("--profile-minutes", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cut = [path for text in args.cut for path in cut_folder(text, args)]
    request = SearchRequest(
        data=(*args.data, *map(str, cut)),
        objectives=COSTS,
        prefer="knee",
        effort="quick",
        iterations=args.iterations,
        first_epochs=args.first_epochs,
        further_epochs=args.further_epochs,
        profile_minutes=args.profile_minutes,
        max_train=args.images,
        finalists=2,
        seed=args.seed,
    )
    sizes = {"initial_size": args.initial, "archive_size": args.archive, "new_per_iteration": args.new}
    EFFORTS["quick"] = replace(EFFORTS["quick"], **sizes)
    clock, begun = Clock(), now()
    found = search_network(request, args.out / "run", clock)
    ended = now()

    folder = RunFolder.read(found.run)
    print(f"{circumstances('natdeploy', 'torch')}, one thread, --seed {args.seed}")
    print(f"{len(folder.settings.objectives)} objectives: {', '.join(folder.settings.objectives)}")
    print(f"data: {folder.provenance['data']}")
    print(
        f"archive {args.initial} at first, {args.archive} then, {args.new} new in each of {args.iterations} iterations; epochs {args.first_epochs:g}, {args.further_epochs:g}"
    )
    print("\n".join(describe_iterations(folder, clock)))
    front = found.result.front
    print(f"front: {len(front)} of {len(folder.read_iterations()[-1].genes)} networks, {of_errors_alone(front.errors_percent)}")
    print(f"whole search {took(begun, ended)}, of it {took(begun, clock.begun[0])} for images and latency table")
    print("chosen (knee):")
    for network in found.networks:
        classes = load_subnet(network.subnet_file).num_classes
        test = "none" if network.test is None else f"{network.test.top1_percent:.1f} % of {network.test.num_images}"
        print(f"  {network.data}: validation {100 - network.error_percent:.1f} %, test {test}, guessing {100 / classes:.1f} %")
    for latency in found.chosen.latencies:
        print(f"  {latency.median_ms:.3f} ms ({latency.low_ms:.3f} to {latency.high_ms:.3f}) on {latency.target}")


def cut_folder(text: str, args: argparse.Namespace) -> Iterator[Path]:
    """Data sets of links to images, each of the next few classes; `text` is FOLDER:N."""
    folder, number = text.rsplit(":", 1)
    source = Path(folder).resolve()
    classes = sorted(path.name for path in (source / "train").iterdir())
    test = next(source / name for name in TEST_NAMES if (source / name).is_dir())
    for group in range(int(number)):
        made = args.out / "data" / f"{source.name}-{group + 1}"
        for name in classes[group * args.classes : (group + 1) * args.classes]:
            for part, images in (("train", source / "train" / name), ("test", test / name)):
                place = made / part / name
                place.mkdir(parents=True, exist_ok=True)
                # a tenth of those to train on become validation images
                for image in sorted(path for path in images.rglob("*") if path.is_file())[
                    : round(1.12 * args.images / args.classes)
                ]:
                    (place / image.name).symlink_to(image)
        yield made


def describe_iterations(folder: RunFolder, clock: Clock) -> Iterator[str]:
    records = folder.read_iterations()
    starts = [*(clock.begun[record.iteration] for record in records), clock.begun["measure finalists"]]
    for record, (start, end) in zip(records, pairwise(starts), strict=True):
        volumes = record.hypervolumes
        methods = ", ".join(surrogate.method for surrogate in record.surrogates)
        taus = [surrogate.on_new.kendall_tau for surrogate in record.surrogates]
        yield (
            f"iteration {record.iteration}: {took(start, end)}, {len(record.genes)} networks; hypervolume {volumes.before:.4f} before, "
            f"{volumes.adapted:.4f} with adapted weights, {volumes.after:.4f} after"
            + (f"; surrogates {methods}: tau on new {np.mean(taus):.2f} in the mean" if taus else "")
        )


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def took(start: tuple[float, float], end: tuple[float, float]) -> str:
    return f"{end[0] - start[0]:.0f} s ({end[1] - start[1]:.0f} s CPU)"


def of_errors_alone(errors: NDArray[np.float64]) -> str:
    """How many of a front are on that of the errors alone."""
    return f"{non_dominated(errors).sum()} of them on that of the errors alone"


if __name__ == "__main__":
    main()
