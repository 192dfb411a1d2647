"""What cutting off the taps that only meet padding gives on a CPU: a training step with it and without, in turn.

    python benchmarks/small_maps.py [--width 0.5] [--batch-size 128]

Two copies of one supernet learn the same batches with the same architectures (largest, one drawn, smallest), one with `supernets/depthwise.py`, one with
`torch.nn.functional.conv2d`. Printed is the median over the repetitions of the ratio of the two times next to each other, and its lowest and highest
ninth; then single layers, forward and backward.
"""

import argparse
import copy
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.machine import circumstances
from nat_deploy.spaces import OfaMobileNetV3Space
from nat_deploy.supernets import MBConvSupernet, layers
from nat_deploy.supernets.depthwise import depthwise_conv
from nat_deploy.training.optimiser import make_optimiser
from nat_deploy.training.step import StepSettings, train_step

RESOLUTIONS = (32, 48, 64)
LAYERS = ((240, 4, 7, 1), (240, 3, 7, 1), (240, 2, 5, 1), (480, 2, 7, 1), (480, 2, 7, 2), (480, 1, 3, 1), (480, 1, 7, 1))


def plain_conv(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2, groups=x.shape[1])


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(ours: Callable[[], object], theirs: Callable[[], object], repetitions: int) -> str:
    ours(), theirs()
    pairs = np.array([(seconds(ours), seconds(theirs)) for _ in range(repetitions)])
    low, middle, high = np.quantile(pairs[:, 1] / pairs[:, 0], (1 / 9, 1 / 2, 8 / 9))
    mine, torchs = 1e3 * np.median(pairs, axis=0)
    return f"{mine:8.1f} ms  torch {torchs:8.1f} ms  ratio {middle:.2f} ({low:.2f} to {high:.2f}, {repetitions} repetitions)"


def steps(width: float, resolution: int, batch_size: int, repetitions: int) -> str:
    space = OfaMobileNetV3Space(width, RESOLUTIONS, 200)
    ours = MBConvSupernet(space, torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last).train()
    theirs = copy.deepcopy(ours)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch_size, 3, resolution, resolution, generator=generator).contiguous(memory_format=torch.channels_last)
    batch = (images, torch.randint(200, (batch_size,), generator=generator))
    architectures = [space.largest(), space.decode(space.sample(np.random.default_rng(0), 1)[0]), space.smallest()]

    def step(supernet: MBConvSupernet) -> Callable[[], float]:
        optimiser = make_optimiser("adamw", supernet, learning_rate=1e-3, weight_decay=0.02)
        return lambda: train_step(supernet, [batch], architectures, optimiser, StepSettings())

    their_step = step(theirs)

    def with_torch() -> float:
        with patch.object(layers, "depthwise_conv", plain_conv):
            return their_step()

    return compare(step(ours), with_torch, repetitions)


def layer(channels: int, side: int, kernel: int, stride: int, batch_size: int) -> str:
    images = torch.randn(batch_size, channels, side, side).contiguous(memory_format=torch.channels_last)
    images = images.requires_grad_()
    weight = torch.randn(channels, 1, kernel, kernel, requires_grad=True)
    upstream = torch.randn_like(plain_conv(images, weight, None, stride))

    def work(convolve: Callable[[Tensor, Tensor, None, int], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(convolve(images, weight, None, stride), [images, weight], upstream)

    return compare(work(depthwise_conv), work(plain_conv), 9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{circumstances('torch')} | one thread")
    for resolution in RESOLUTIONS:
        found = steps(args.width, resolution, args.batch_size, args.repetitions)
        print(f"step of ofa-mbv3-w{args.width:g}, {resolution} px, batch {args.batch_size}: {found}", flush=True)
    for shape in LAYERS:
        found = layer(*shape, args.batch_size)
        print("{} channels, {} px, kernel {}, stride {}: ".format(*shape) + found, flush=True)


if __name__ == "__main__":
    main()
