"""What fine-tuning gains over the weights that a subnet has in its supernet: `python benchmarks/finetune.py --data flowers5/ --results FILE`.

For each seed (of the division into parts, the adaptation, the drawn architecture and the fine-tuning): the shipped supernet is adapted as a search does it,
a random architecture is cut out, calibrated and fine-tuned with each learning rate, taught by the supernet's largest subnet. The rate of the smallest
validation loss is kept. Accuracies are compared on the test images, which nothing looked at, by the exact McNemar test: of the images that only one of the
two networks classifies right, would a fair coin give so many to one of them?

Each seed appends a line to the results file, so that seeds may run one by one; the summary is over all lines.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from benchmarks.machine import cpu
from nat_deploy.data import ImageSet, batches, load_data
from nat_deploy.spaces import Genes, SearchSpace
from nat_deploy.supernets import Subnet, load_supernet
from nat_deploy.training.adapt import AdaptationSettings, prepare_supernet
from nat_deploy.training.evaluator import EvaluatorSettings, SupernetEvaluator
from nat_deploy.training.finetune import FinetuneResult, FinetuneSettings, Lesson, finetune_subnet
from nat_deploy.walk import shipped_supernet


class Row(TypedDict):
    """A line of the results file: one seed. Where there are two numbers, the first is before fine-tuning and the second after."""

    date: str
    machine: str
    settings: dict[str, object]
    seed: int
    learning_rate: float
    epochs: int
    is_better: bool
    is_recalibrated: bool
    validation_percent: list[float]
    validation_loss: list[float]
    num_validation: int
    test_percent: list[float]
    teacher_test_percent: float
    num_test: int
    only_before_right: int
    only_after_right: int
    adaptation_s: int
    finetuning_s: int


class Uniform:
    """All architectures of a space alike."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def sample(self, rng: np.random.Generator, count: int) -> Genes:
        return self._space.sample(rng, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--max-train", type=int, default=1500)
    parser.add_argument("--resolution", type=int, default=48)
    parser.add_argument("--adaptation-epochs", type=float, default=12)
    parser.add_argument("--epochs", type=int, default=FinetuneSettings().epochs)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[1e-4, 5e-4, 2e-3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    for seed in args.seeds:
        row = run(seed, args)
        with args.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    summarise([json.loads(line) for line in args.results.read_text(encoding="utf-8").splitlines()])


def run(seed: int, args: argparse.Namespace) -> Row:
    """One seed: the row of the results file."""
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
        settings=replace(FinetuneSettings(), epochs=args.epochs, seed=seed),
    )
    adapted = time.perf_counter()
    tried: dict[float, FinetuneResult] = {}
    for rate in args.learning_rates:
        settings = replace(lesson.settings, learning_rate=rate)
        with tempfile.TemporaryDirectory() as folder:
            tried[rate] = finetune_subnet(replace(lesson, settings=settings), data.train, data.val, Path(folder))
        after = tried[rate].after
        assert after is not None
        print(
            f"  {rate:g}: validation {after.accuracy.top1_percent:.2f} %, loss {after.loss:.4f}, {tried[rate].num_epochs} epochs",
            flush=True,
        )
    best = min(tried, key=lambda rate: (not tried[rate].is_better, validation_loss(tried[rate])))
    result = tried[best]
    assert result.after is not None
    assert lesson.teacher is not None
    before, after_right, teacher = (right(network, data.test, args) for network in (lesson.start, result.network, lesson.teacher))
    row: Row = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{cpu()}, one thread, torch {torch.__version__}",
        "settings": {
            **{name: value for name, value in vars(args).items() if name not in ("seeds", "results")},
            "data": data.name,
        },
        "seed": seed,
        "learning_rate": best,
        "epochs": result.num_epochs,
        "is_better": result.is_better,
        "is_recalibrated": result.is_recalibrated,
        "validation_percent": [result.before.accuracy.top1_percent, result.after.accuracy.top1_percent],
        "validation_loss": [result.before.loss, result.after.loss],
        "num_validation": len(data.val),
        "test_percent": [100 * float(before.mean()), 100 * float(after_right.mean())],
        "teacher_test_percent": 100 * float(teacher.mean()),
        "num_test": len(data.test),
        "only_before_right": int((before & ~after_right).sum()),
        "only_after_right": int((after_right & ~before).sum()),
        "adaptation_s": round(adapted - began),
        "finetuning_s": round(time.perf_counter() - adapted),
    }
    print(json.dumps(row), flush=True)
    return row


def validation_loss(result: FinetuneResult) -> float:
    assert result.after is not None
    return result.after.loss


@torch.no_grad()
def right(network: Subnet, images: ImageSet, args: argparse.Namespace) -> NDArray[np.bool_]:
    """Which of n images the network classifies right, (n,)."""
    parts = [
        network.eval()(batch).argmax(dim=1) == labels
        for batch, labels in batches(images, batch_size=256, resolution=args.resolution)
    ]
    return torch.cat(parts).numpy()


def summarise(rows: list[Row]) -> None:
    """Gain of every seed, and the exact McNemar test of each and of all of them."""
    lost = gained = 0
    gains = []
    for row in rows:
        (before, after), worse, better = row["test_percent"], row["only_before_right"], row["only_after_right"]
        lost, gained = lost + worse, gained + better
        gains.append(after - before)
        print(
            f"seed {row['seed']}: {before:.2f} -> {after:.2f} % on {row['num_test']} test images ({after - before:+.2f} points; {better} won, "
            f"{worse} lost, p = {p_value(better, worse):.2g}), learning rate {row['learning_rate']:g}, {row['epochs']} epochs, "
            f"teacher {row['teacher_test_percent']:.2f} %{'' if row['is_better'] else '; not better on validation images: old weights kept'}"
        )
    print(
        f"mean gain {np.mean(gains):+.2f} points; all seeds: {gained} won, {lost} lost, exact McNemar p = {p_value(gained, lost):.2g}, too small since the seeds share test images"
    )


def p_value(better: int, worse: int) -> float:
    return 1.0 if better + worse == 0 else float(binomtest(better, better + worse).pvalue)


if __name__ == "__main__":
    main()
