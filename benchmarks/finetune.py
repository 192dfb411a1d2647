"""What fine-tuning gains over the weights that a subnet has in its supernet: `python benchmarks/finetune.py --data flowers5/`.

For each seed (of the division into parts, the adaptation, the drawn architecture and the fine-tuning): the shipped supernet is adapted as a search does it,
a random architecture is cut out, calibrated and fine-tuned, with the supernet's largest subnet as its teacher. Accuracies are compared on the validation
images, which chose the number of epochs, and on the test images, which nothing looked at.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from benchmarks.export import cpu_model
from nat_deploy.data import batches, load_data
from nat_deploy.spaces import Genes, SearchSpace
from nat_deploy.supernets import load_supernet
from nat_deploy.training.adapt import AdaptationSettings, prepare_supernet
from nat_deploy.training.evaluate import measure_accuracy
from nat_deploy.training.evaluator import EvaluatorSettings, SupernetEvaluator
from nat_deploy.training.finetune import FinetuneSettings, Lesson, finetune_subnet
from nat_deploy.walk import shipped_supernet


class Uniform:
    """All architectures of a space alike."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def sample(self, rng: np.random.Generator, count: int) -> Genes:
        return self._space.sample(rng, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--max-train", type=int, default=1500)
    parser.add_argument("--resolution", type=int, default=48)
    parser.add_argument("--adaptation-epochs", type=float, default=12)
    parser.add_argument("--epochs", type=int, default=FinetuneSettings().epochs)
    parser.add_argument("--learning-rate", type=float, default=FinetuneSettings().learning_rate)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC | {cpu_model()} | torch {torch.__version__}, one thread | {vars(args)}",
        flush=True,
    )
    gains = [run(seed, args) for seed in range(args.seeds)]
    validation, test = (np.mean(column) for column in zip(*gains, strict=True))
    print(f"mean gain: {validation:+.2f} points on validation images, {test:+.2f} on test images")


def run(seed: int, args: argparse.Namespace) -> tuple[float, float]:
    """Points gained on validation and on test images."""
    began = time.perf_counter()
    data = load_data(args.data, image_size=64, seed=seed, max_train=args.max_train)
    assert data.test is not None
    supernet = prepare_supernet(load_supernet(shipped_supernet())[0], data, (args.resolution,), seed=seed)
    rng = np.random.default_rng(seed)
    adaptation = AdaptationSettings(epochs=args.adaptation_epochs, learning_rate=2e-3)
    evaluator = SupernetEvaluator(supernet, data, EvaluatorSettings(first=adaptation))
    evaluator.adapt(Uniform(supernet.space), rng)
    lesson = Lesson(
        start=evaluator.subnet(supernet.space.decode(supernet.space.sample(rng, 1)[0])),
        teacher=evaluator.subnet(supernet.space.largest()),
        resolution=args.resolution,
        augmentation=data.augmentation,
        settings=replace(FinetuneSettings(), epochs=args.epochs, learning_rate=args.learning_rate, seed=seed),
    )
    adapted = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = finetune_subnet(lesson, data.train, data.val, Path(folder))
    before, after = (
        measure_accuracy(network, batches(data.test, batch_size=256, resolution=args.resolution)).top1_percent
        for network in (lesson.start, result.network)
    )
    assert result.after is not None
    chosen, kept = result.before.accuracy.top1_percent, result.after.accuracy.top1_percent
    print(
        f"seed {seed}: validation ({len(data.val)}) {chosen:.2f} -> {kept:.2f} %, test ({len(data.test)}) {before:.2f} -> {after:.2f} %, "
        f"{result.num_epochs} epochs{'' if result.is_better else ', not better: weights kept'}; "
        f"adaptation {adapted - began:.0f} s, fine-tuning {time.perf_counter() - adapted:.0f} s",
        flush=True,
    )
    return (kept - chosen if result.is_better else 0.0), after - before


if __name__ == "__main__":
    main()
