"""A training step of a sampled subnet, and the evaluation of 20 subnets with batch-norm calibration: ours beside the `ofa` package, in turn.

    pip install --no-deps --target DIR ofa==0.1.0.post202307202001
    PYTHONPATH=DIR python benchmarks/ofa_training_step.py [--resolution 64] [--device cpu]

Both networks have the same weights, are given the same tensors and the same architectures, and use the same threads. Nothing in the package is changed;
its training step is written here as its `train_one_epoch` does it (that function itself runs on CUDA and from its own ImageNet folders only), and its
evaluation as its `validate` does it, with its own `set_running_statistics`. Each step learns one sampled subnet from the labels with SGD. Before
anything is timed, both must give the same logits, loss and accuracies. Printed is the median over the repetitions of the ratio of the two times next to
each other, and the lowest and highest ninth of it.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.machine import cpu
from nat_deploy.data import Batch, ImageSet, batches, calibration_batches
from nat_deploy.spaces import Architecture, OfaMobileNetV3Space, SearchSpace
from nat_deploy.supernets import Supernet
from nat_deploy.supernets.ofa_checkpoint import import_supernet
from nat_deploy.training.evaluate import CalibrationSettings, evaluate
from nat_deploy.training.optimiser import make_optimiser
from nat_deploy.training.step import StepSettings, train_step

_CLASSES = 200
_SUBNETS = 20
_SMOOTHING = 0.1
_LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 3e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Two ways of the same work, both warmed up; each takes the number of the repetition."""

    name: str
    ours: Callable[[int], object]
    theirs: Callable[[int], object]
    synchronise: Callable[[], None]

    def ratios(self, repetitions: int) -> tuple[list[float], list[float], list[float]]:
        """Seconds of ours, of theirs, and theirs over ours."""
        ours, theirs = [], []
        for repetition in range(repetitions):
            ours.append(self._seconds(self.ours, repetition))
            theirs.append(self._seconds(self.theirs, repetition))
        return ours, theirs, [b / a for a, b in zip(ours, theirs, strict=True)]

    def _seconds(self, work: Callable[[int], object], repetition: int) -> float:
        self.synchronise()
        started = time.perf_counter()
        work(repetition)
        self.synchronise()
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64, help="of a training step")
    parser.add_argument("--calibration-images", type=int, default=512)
    parser.add_argument("--images", type=int, default=1000, help="that an evaluation counts")
    parser.add_argument("--steps", type=int, default=27)
    parser.add_argument("--evaluations", type=int, default=5, help="of 20 subnets each")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="file to append the result to as well")
    args = parser.parse_args()
    if find_spec("ofa") is None:
        raise SystemExit(
            "the comparison needs the Python package 'ofa', but it is not installed; install it, and set PYTHONPATH, as --help shows"
        )
    from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    theirs = OFAMobileNetV3(
        _CLASSES, dropout_rate=0, width_mult=args.width, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4]
    )
    space = OfaMobileNetV3Space(args.width, (args.resolution,), _CLASSES)
    ours = _same_weights(theirs, space).to(args.device).to(memory_format=torch.channels_last)
    theirs = theirs.to(args.device)
    architectures = [space.decode(genes) for genes in space.sample(np.random.default_rng(0), _SUBNETS)]
    synchronise = torch.cuda.synchronize if args.device.startswith("cuda") else lambda: None
    lines = [
        f"{date.today()}, {_machine(args.device)}, python {platform.python_version()}, torch {torch.__version__}, {args.threads} threads",
        f"ofa-mbv3-w{args.width}, {args.resolution} px, batch {args.batch_size}, {_SUBNETS} subnets, "
        f"{args.calibration_images} images to calibrate, {args.images} counted",
    ]
    print("\n".join(lines), flush=True)
    for make_contest, repetitions in ((_training, args.steps), (_evaluation, args.evaluations)):
        contest = make_contest(ours, theirs, architectures, args, synchronise)
        seconds, their_seconds, ratios = contest.ratios(repetitions)
        low, middle, high = np.quantile(ratios, (1 / 9, 1 / 2, 8 / 9))
        lines.append(
            f"{contest.name:24} ours {np.median(seconds):7.3f} s  ofa {np.median(their_seconds):7.3f} s  "
            f"ratio {middle:.2f} ({low:.2f} to {high:.2f}, {repetitions} repetitions)"
        )
        print(lines[-1], flush=True)
    if args.out:
        with args.out.open("a") as file:
            file.write("\n".join(lines) + "\n")


def _same_weights(theirs: nn.Module, space: SearchSpace) -> Supernet:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ofa.pth"
        torch.save({"state_dict": theirs.state_dict()}, path)
        return import_supernet(path, space)


def _activate(theirs: Any, architecture: Architecture) -> None:
    """Make `architecture` the active subnet of the package's network: 20 slots, of which the depth picks the first ones of each stage."""
    kernels, layers = [7] * 20, zip(architecture.kernel, architecture.expand, strict=True)
    expands: list[float] = [6] * 20
    for stage, depth in enumerate(architecture.depth):
        for slot in range(4 * stage, 4 * stage + depth):
            kernels[slot], expands[slot] = next(layers)
    theirs.set_active_subnet(ks=kernels, e=expands, d=list(architecture.depth))


def _training(
    ours: Supernet,
    theirs: nn.Module,
    architectures: list[Architecture],
    args: argparse.Namespace,
    synchronise: Callable[[], None],
) -> Contest:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(args.batch_size, 3, args.resolution, args.resolution, generator=generator).to(args.device)
    labels = torch.randint(_CLASSES, (args.batch_size,), generator=generator).to(args.device)
    channels_last = images.contiguous(memory_format=torch.channels_last)
    our_optimiser = make_optimiser("sgd", ours, learning_rate=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    their_groups = [  # as its `build_optimizer` does
        {
            "params": [p for name, p in theirs.named_parameters() if ".bn." not in name and not name.endswith("bias")],
            "weight_decay": _WEIGHT_DECAY,
        },
        {
            "params": [p for name, p in theirs.named_parameters() if ".bn." in name or name.endswith("bias")],
            "weight_decay": 0,
        },
    ]
    their_optimiser = torch.optim.SGD(their_groups, lr=_LEARNING_RATE, momentum=0.9, nesterov=True)
    settings = StepSettings(label_smoothing=_SMOOTHING)

    def our_step(repetition: int) -> float:
        ours.train()
        return train_step(ours, [(channels_last, labels)], [architectures[repetition % _SUBNETS]], our_optimiser, settings)

    def their_step(repetition: int) -> float:
        theirs.train()
        theirs.zero_grad()
        _activate(theirs, architectures[repetition % _SUBNETS])
        loss = F.cross_entropy(theirs(images), labels, label_smoothing=_SMOOTHING)
        loss.backward()  # type: ignore[no-untyped-call]
        their_optimiser.step()
        return float(loss.item())

    with torch.no_grad():
        for architecture in architectures[:3]:
            _activate(theirs.train(), architecture)
            torch.testing.assert_close(ours.train()(channels_last, architecture), theirs(images), rtol=1e-3, atol=1e-3)
    for warm_up in range(2):
        our_step(warm_up)
        their_step(warm_up)
    return Contest(name="training step", ours=our_step, theirs=their_step, synchronise=synchronise)


def _evaluation(
    ours: Supernet,
    theirs: nn.Module,
    architectures: list[Architecture],
    args: argparse.Namespace,
    synchronise: Callable[[], None],
) -> Contest:
    from ofa.imagenet_classification.elastic_nn.utils import set_running_statistics

    ours = _same_weights(theirs, ours.space).to(args.device).to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(2)
    calibration, counted = (_random_images(n, args.resolution, generator) for n in (args.calibration_images, args.images))
    settings = CalibrationSettings(num_images=args.calibration_images)

    def loader(labelled: Iterable[Batch]) -> list[Batch]:
        """Decoded, normalised and on the device before anything is timed; ours normalises while it is timed."""
        return [(images.contiguous().to(args.device), labels.to(args.device)) for images, labels in labelled]

    to_calibrate = loader(
        calibration_batches(
            calibration, count=args.calibration_images, batch_size=settings.batch_size, resolution=args.resolution
        )
    )
    to_count = loader(batches(counted, batch_size=256, resolution=args.resolution))
    on_device = (calibration.to(args.device), counted.to(args.device))

    def our_evaluation(repetition: int) -> list[int]:
        found = evaluate(ours, architectures, training_images=on_device[0], images=on_device[1], calibration=settings)
        return [accuracy.num_right for accuracy in found]

    @torch.no_grad()
    def their_evaluation(repetition: int) -> list[int]:
        found = []
        theirs.eval()
        for architecture in architectures:
            _activate(theirs, architecture)
            set_running_statistics(theirs, to_calibrate)
            found.append(sum(int((theirs(images).argmax(1) == labels).sum()) for images, labels in to_count))
        return found

    difference = np.abs(np.subtract(our_evaluation(0), their_evaluation(0))).max()
    assert difference <= 0.01 * args.images, f"both must find the same accuracies, but they differ by {difference} images"
    return Contest(name="evaluation of 20 subnets", ours=our_evaluation, theirs=their_evaluation, synchronise=synchronise)


def _random_images(count: int, resolution: int, generator: torch.Generator) -> ImageSet:
    return ImageSet(
        images=torch.randint(256, (count, 3, resolution, resolution), dtype=torch.uint8, generator=generator),
        labels=torch.randint(_CLASSES, (count,), generator=generator),
    )


def _machine(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else cpu()


if __name__ == "__main__":
    main()
