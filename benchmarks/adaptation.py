"""Does adapting the supernet during the search earn its cost? Hypervolumes of searches that take equal time, with and without.

    python benchmarks/adaptation.py --data flowers5/ --out FOLDER [--seeds 3]

All searches of a seed begin with the same weights: the shipped supernet, trained on the data with random subnets of the space. Then

    members    adapts before each evaluation on archive members with mutations (the default)
    marginals  adapts on what NAT describes: each gene drawn by itself, as often as the archive has it
    without    never adapts; the time it saves goes into more iterations

`members` makes a given number of iterations; the others begin iterations until they have used as much CPU time. Then the front of each search's last archive, chosen on
validation images, is judged on test images: the share of the box between (0, 0) and (100 % error, MACs of the largest subnet) that it dominates.
"""

import argparse
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.last_archive import LastArchive
from benchmarks.machine import circumstances
from nat_deploy.data import DataSplits, load_data
from nat_deploy.search import ERROR, RunFolder, SearchEvent, SearchSettings, hypervolume, run_search
from nat_deploy.search.distribution import Adaptation
from nat_deploy.spaces import Genes, SearchSpace
from nat_deploy.supernets import load_supernet
from nat_deploy.training.adapt import AdaptationSettings, adapt_supernet, prepare_supernet
from nat_deploy.training.evaluate import evaluate
from nat_deploy.training.evaluator import EvaluatorSettings, SupernetEvaluator
from nat_deploy.training.joint_evaluator import JointEvaluator
from nat_deploy.walk import shipped_supernet

OBJECTIVES = (ERROR, "macs")
ARMS: dict[str, Adaptation | None] = {"members": "members", "marginals": "marginals", "without": None}


class TimeIsUpError(Exception):
    """A search has used its CPU time."""


@dataclass(frozen=True)
class Uniform:
    """All subnets of the space, as the space draws them."""

    space: SearchSpace

    def sample(self, rng: np.random.Generator, count: int) -> Genes:
        return self.space.sample(rng, count)


def stop_after(seconds: float) -> Callable[[SearchEvent], None]:
    ends = time.process_time() + seconds

    def check(event: SearchEvent) -> None:
        if event.step == "fit surrogate" and time.process_time() > ends:  # between two iterations
            raise TimeIsUpError

    return check


def search(
    evaluator: SupernetEvaluator, adaptation: Adaptation | None, folder: Path, args: argparse.Namespace, seed: int, seconds: float
) -> tuple[float, int, float]:
    """Returns the CPU time used, how many iterations were finished, and the hypervolume on test images."""
    settings = SearchSettings(
        objectives=OBJECTIVES,
        seed=seed,
        initial_size=args.archive,
        archive_size=args.archive,
        iterations=args.iterations if np.isinf(seconds) else 1000,
        new_per_iteration=args.archive // 3,
        population_size=40,
        generations=40,
        adapt=adaptation is not None,
        adaptation=adaptation or "members",
    )
    run = RunFolder.create(folder, settings, {})
    started = time.process_time()
    with contextlib.suppress(TimeIsUpError):
        run_search(evaluator.supernet.space, JointEvaluator({ERROR: evaluator}), {}, {}, run, stop_after(seconds))
    used, last = time.process_time() - started, LastArchive.of(run)
    if adaptation is not None:
        run.load_checkpoint(ERROR, evaluator, last.version)
    return used, last.iteration, judge(evaluator, last)


def judge(evaluator: SupernetEvaluator, archive: LastArchive) -> float:
    """Hypervolume on test images of the front on validation images."""
    space, data = evaluator.supernet.space, evaluator.data
    assert data.test is not None, "the data set needs a test part"
    front = archive.genes[archive.front_by_macs(space)]
    tested = evaluate(evaluator.supernet, [space.decode(row) for row in front], training_images=data.train, images=data.test)
    errors, macs = [found.error_percent for found in tested], space.count(front).macs.astype(float)
    largest = space.count(space.encode(space.largest())[None]).macs[0]
    return hypervolume(np.stack([errors, macs], axis=1), np.array([100.0, float(largest)]))


def warmed_up(data: DataSplits, resolutions: tuple[int, ...], args: argparse.Namespace, seed: int) -> dict[str, torch.Tensor]:
    supernet = prepare_supernet(load_supernet(shipped_supernet())[0], data, resolutions, seed=seed)
    settings = AdaptationSettings(epochs=args.first_epochs, learning_rate=2e-3)
    adapt_supernet(supernet, data, Uniform(supernet.space), settings, np.random.default_rng(seed))
    return {name: tensor.clone() for name, tensor in supernet.state_dict().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resolutions", default="32,40,48")
    parser.add_argument("--max-train", type=int)
    parser.add_argument("--first-epochs", type=float, default=8)
    parser.add_argument("--further-epochs", type=float, default=2)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--archive", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    resolutions = tuple(int(size) for size in args.resolutions.split(","))
    data = load_data(args.data, image_size=max(resolutions), seed=0, max_train=args.max_train)
    print(f"{circumstances('natdeploy', 'torch')}, {args.threads} threads; {data.name}: {len(data.train)} training images")
    print(
        f"{args.first_epochs:g} epochs first, then {args.further_epochs:g} before each of {args.iterations} evaluations of {args.archive} networks"
    )
    volumes: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for seed in range(args.seeds):
        start, seconds = warmed_up(data, resolutions, args, seed), np.inf
        for arm, adaptation in ARMS.items():
            supernet = prepare_supernet(load_supernet(shipped_supernet())[0], data, resolutions, seed=seed)
            supernet.load_state_dict(start)
            further = AdaptationSettings(epochs=args.further_epochs, learning_rate=1e-3)
            evaluator = SupernetEvaluator(supernet, data, replace(EvaluatorSettings(), first=further, further=further))
            used, iterations, volume = search(evaluator, adaptation, args.out / f"{seed}-{arm}", args, seed, seconds)
            seconds = min(seconds, used)
            volumes[arm].append(volume)
            print(
                f"seed {seed} {arm:10} {used:6.0f} s CPU, {iterations:3} iterations, hypervolume on test images {volume:.4f}",
                flush=True,
            )
    for arm, found in volumes.items():
        lead = np.subtract(volumes["members"], found)
        print(
            f"{arm:10} mean {np.mean(found):.4f}; members ahead by {lead.mean():+.4f} ({', '.join(f'{value:+.4f}' for value in lead)})"
        )


if __name__ == "__main__":
    main()
