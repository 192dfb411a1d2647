"""Does `torch.compile` pay in training? A step of one fixed network, as `finetune` trains it, compiled and not, in turn; and what compiling costs.

    python benchmarks/compiled_training.py [--width 0.5] [--resolution 64] [--device cpu]

Printed is the time to compile the network's forward and backward (nothing cached), the ratio of the times of a step next to each other, and after how many steps compiling has
paid for itself. A search and the training of a supernet draw other subnets in every step, and each of them is another graph: there the cost comes again with every subnet.
"""

import argparse
import copy
import os
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.machine import circumstances
from nat_deploy.spaces import OfaMobileNetV3Space
from nat_deploy.supernets import MBConvSupernet, Subnet, extract_subnet
from nat_deploy.training.optimiser import make_optimiser


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--networks", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        f"{circumstances('torch')} | {args.threads} threads, {args.device}; ofa-mbv3-w{args.width:g}, {args.resolution} px, batch {args.batch_size}"
    )
    space = OfaMobileNetV3Space(args.width, (args.resolution,), 100)
    supernet = MBConvSupernet(space, torch.Generator().manual_seed(0))
    for number, genes in enumerate(space.sample(np.random.default_rng(0), args.networks)):
        print(f"random network {number}: {compare(extract_subnet(supernet, space.decode(genes)), args)}", flush=True)


def compare(subnet: Subnet, args: argparse.Namespace) -> str:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(args.batch_size, 3, args.resolution, args.resolution, generator=generator)
    images = images.to(args.device, memory_format=torch.channels_last)
    labels = torch.randint(100, (args.batch_size,), generator=generator).to(args.device)

    def stepper(network: torch.nn.Module, *, compiled: bool) -> Callable[[], float]:
        optimiser = make_optimiser("adamw", network, learning_rate=1e-3, weight_decay=0.02)
        forward = torch.compile(network) if compiled else network

        def step() -> float:
            started = time.perf_counter()
            optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(forward(images), labels).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if images.is_cuda:
                torch.cuda.synchronize()
            return time.perf_counter() - started

        return step

    network = subnet.to(args.device).to(memory_format=torch.channels_last).train()
    plain, compiled = stepper(copy.deepcopy(network), compiled=False), stepper(network, compiled=True)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # an empty one: everything is compiled
        compiling = compiled()
        plain(), compiled()
        pairs = np.array([(plain(), compiled()) for _ in range(args.repetitions)])
    low, middle, high = np.quantile(pairs[:, 0] / pairs[:, 1], (1 / 9, 1 / 2, 8 / 9))
    before, after = np.median(pairs, axis=0)
    pays = f"pays after {compiling / (before - after):.0f} steps" if before > after else "never pays"
    return (
        f"compiled in {compiling:.0f} s; a step {1e3 * before:.0f} ms, compiled {1e3 * after:.0f} ms: "
        f"{middle:.2f} times as fast ({low:.2f} to {high:.2f}, {args.repetitions} repetitions); {pays}"
    )


if __name__ == "__main__":
    main()
