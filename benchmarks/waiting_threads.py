"""How long should PyTorch's threads spin while they wait for each other, before they sleep?

    python benchmarks/waiting_threads.py [--busy 1] [--settings GOMP_SPINCOUNT=1000 OMP_WAIT_POLICY=PASSIVE]

A training step and an evaluation with as many threads as there are cores, in processes with each of the settings of OpenMP and with none in turn, on the machine as it is and
beside `--busy` processes that compute all the time.
"""

import argparse
import os
import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np
import torch

from benchmarks.machine import circumstances
from nat_deploy.data import ImageSet
from nat_deploy.spaces import OfaMobileNetV3Space
from nat_deploy.supernets import MBConvSupernet
from nat_deploy.training.evaluate import CalibrationSettings, evaluate
from nat_deploy.training.optimiser import make_optimiser
from nat_deploy.training.step import StepSettings, train_step

KNOWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
SPIN = "while True: pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--settings", nargs="+", default=["GOMP_SPINCOUNT=1000", "OMP_WAIT_POLICY=PASSIVE"])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--resolution", type=int, default=48)
    parser.add_argument("--work", action="store_true", help="what the processes do")
    args = parser.parse_args()
    if args.work:
        print(*work(args.resolution))
        return
    print(f"{circumstances('torch')} | {os.cpu_count()} threads, ofa-mbv3-w0.5, {args.resolution} px, batch 64")
    for busy in (0, args.busy):
        with ExitStack() as held:
            for _ in range(busy):
                held.callback(held.enter_context(subprocess.Popen([sys.executable, "-c", SPIN])).kill)
            turns = np.array(
                [[seconds(setting, args) for setting in ("", *args.settings)] for _ in range(args.repetitions)]
            )  # turn, setting, kind of work
        for kind, name in enumerate(("training step", "evaluation of 4 subnets")):
            print(f"beside {busy} busy processes, {name}: {np.median(turns[:, 0, kind]):.2f} s without a setting", flush=True)
            for place, setting in enumerate(args.settings, start=1):
                ratios = turns[:, place, kind] / turns[:, 0, kind]
                print(f"  {setting}: {np.median(ratios):.2f} times that ({ratios.min():.2f} to {ratios.max():.2f})", flush=True)


def seconds(setting: str, args: argparse.Namespace) -> tuple[float, ...]:
    """Of a step and of an evaluation, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in KNOWN}
    if setting:
        name, _, value = setting.partition("=")
        environment[name] = value
    command = [sys.executable, __file__, "--work", "--resolution", str(args.resolution)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return tuple(map(float, done.stdout.split()))


def work(resolution: int) -> tuple[float, float]:
    space, generator = OfaMobileNetV3Space(0.5, (resolution,), 100), torch.Generator().manual_seed(0)
    supernet = MBConvSupernet(space, generator).to(memory_format=torch.channels_last)
    optimiser = make_optimiser("adamw", supernet, learning_rate=1e-3, weight_decay=0.02)
    images = torch.randint(256, (512, 3, resolution, resolution), dtype=torch.uint8, generator=generator)
    data = ImageSet(images=images, labels=torch.randint(100, (512,), generator=generator))
    batch = ((images[:64] / 128 - 1).contiguous(memory_format=torch.channels_last), data.labels[:64])
    architectures = [space.decode(genes) for genes in space.sample(np.random.default_rng(0), 4)]
    steps = []
    for _ in range(4):
        started = time.perf_counter()
        train_step(supernet.train(), [batch], [space.largest(), architectures[0]], optimiser, StepSettings())
        steps.append(time.perf_counter() - started)
    started = time.perf_counter()
    evaluate(supernet, architectures, training_images=data, images=data, calibration=CalibrationSettings(num_images=256))
    return float(np.median(steps[1:])), time.perf_counter() - started


if __name__ == "__main__":
    main()
