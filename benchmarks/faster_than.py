"""Is A faster than B? How far the answer spreads on a busy machine: rounds in turn against one network after the other.

    python benchmarks/faster_than.py [--repetitions 25] [--out benchmarks/results/faster_than.txt]

Two random subnets of ofa-mbv3-w0.5, some percent apart in MACs, are timed while numpy processes of this script go on and off at
random. A repetition times both networks by each way, with the same number of runs of each network:

* ours: one sitting as of `natdeploy benchmark A B`; ratio by rounds of the same pass, of the 25th percentile of each
* in one go: all runs of A, then all runs of B; ratio of their medians, means, minima and 25th percentiles

The order of the ways changes from repetition to repetition. Printed is the standard deviation of the ratio over the
repetitions, as a share of its mean, and how often the faster network was called the faster one.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from random import Random

import numpy as np
import onnx

from benchmarks.machine import circumstances
from nat_deploy.onnx_graphs import build_graph
from nat_deploy.spaces import make_space
from profilers.protocol import Timing, measure_sitting
from profilers.runtimes import open_runtime
from profilers.runtimes.base import Session
from profilers.settings import Settings
from profilers.statistics import round_quantiles

_ROUNDS = 60  # always so many: about 1.5 s for both networks
_SETTINGS = replace(Settings().for_comparison(), min_rounds=_ROUNDS, half_width=10.0, warm_up_ms=50.0, warm_up_cap_s=0.2)
_LONG_ROUNDS = replace(_SETTINGS, round_ms=30.0, min_runs=10, min_rounds=_ROUNDS // 3)
_OURS = "ours: in turn, p25 of rounds"
_STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "median": lambda runs: float(np.median(runs)),
    "mean": lambda runs: float(np.mean(runs)),
    "p25": lambda runs: float(np.quantile(runs, 0.25)),
    "minimum": lambda runs: float(np.min(runs)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=25)
    parser.add_argument("--load", type=int, default=2, help="processes that go on and off")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="file to write the result to as well")
    arguments = parser.parse_args()

    runtime = open_runtime("onnxruntime")
    ratios: dict[str, list[float]] = {}
    num_runs = 6 * _ROUNDS
    with tempfile.TemporaryDirectory() as folder, _load(arguments.load, arguments.seed):
        paths = _networks(Path(folder), arguments.seed)
        a, b = (runtime.load(path, flush_denormals=True) for path in paths)
        for repetition in range(arguments.repetitions):
            ways = [_in_turn, _in_one_go]
            for way in ways if repetition % 2 else reversed(ways):
                found, num_runs = way(a, b, runtime.clock, repetition, num_runs)
                for name, ratio in found.items():
                    ratios.setdefault(name, []).append(ratio)
    text = "\n".join(_report(ratios, arguments.repetitions, arguments.load))
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")


def _networks(folder: Path, seed: int) -> list[Path]:
    """Two of 40 random subnets, of about the median MACs and some percent apart."""
    space = make_space("ofa-mbv3-w0.5", resolutions=(160,))
    genes = space.sample(np.random.default_rng(seed), 40)
    counted = sorted(zip(space.count(genes).macs, range(len(genes)), strict=True))
    chosen = [counted[18][1], counted[24][1]]
    paths = []
    for number in chosen:
        path = folder / f"{number}.onnx"
        onnx.save(build_graph(space.blocks(space.decode(genes[number])), rng=np.random.default_rng(0), batch_size=1), path)
        paths.append(path)
    return paths


def _in_turn(a: Session, b: Session, clock: Callable[[], int], seed: int, num_runs: int) -> tuple[dict[str, float], int]:
    short = measure_sitting({"a": a, "b": b}, _SETTINGS, clock=clock, rng=Random(seed), together=True)
    long = measure_sitting({"a": a, "b": b}, _LONG_ROUNDS, clock=clock, rng=Random(seed), together=True)
    found = {
        _OURS: _paired(short, 0.25),
        "in turn, median of rounds": _paired(short, 0.5),
        "in turn, rounds of 30 ms, p25": _paired(long, 0.25),
    }
    return found, min(sum(map(len, timing.rounds)) for timing in short)


def _paired(timings: Sequence[Timing], quantile: float) -> float:
    first, second = (round_quantiles(timing.rounds, quantile) for timing in timings)
    return float(np.median(first / second))


def _in_one_go(a: Session, b: Session, clock: Callable[[], int], seed: int, num_runs: int) -> tuple[dict[str, float], int]:
    runs = [_timed(session, clock, num_runs) for session in (a, b)]
    return {
        f"one after the other, {name}": statistic(runs[0]) / statistic(runs[1]) for name, statistic in _STATISTICS.items()
    }, num_runs


def _timed(session: Session, clock: Callable[[], int], num_runs: int) -> np.ndarray:
    for _ in range(20):
        session.run()
    samples = np.empty(num_runs)
    for place in range(num_runs):
        start = clock()
        session.run()
        samples[place] = clock() - start
    return samples


@contextmanager
def _load(count: int, seed: int):  # type: ignore[no-untyped-def]
    """So many processes that multiply matrices for a while, rest for a while, and so on."""
    stop = multiprocessing.Event()
    processes = [multiprocessing.Process(target=_busy, args=(stop, seed + number)) for number in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        stop.set()
        for process in processes:
            process.join()


def _busy(stop: Event, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((256, 256))
    while not stop.is_set():
        until = time.monotonic() + rng.exponential(1.0)
        while time.monotonic() < until and not stop.is_set():
            values @ values
        stop.wait(rng.exponential(1.0))


def _report(ratios: dict[str, list[float]], repetitions: int, load: int) -> list[str]:
    best = np.median(ratios[_OURS])
    lines = [
        f"{circumstances('natdeploy', 'onnxruntime')} | one thread",
        f"{repetitions} repetitions, {load} processes of background load that go on and off, ratio about {best:.3f}",
        f"{'':36}{'sd of the ratio':>16}{'right order':>13}",
    ]
    for name, values in sorted(ratios.items(), key=lambda item: float(np.std(item[1], ddof=1))):
        right = np.mean((np.asarray(values) < 1) == (best < 1))
        lines.append(f"{name:36}{100 * np.std(values, ddof=1) / np.mean(values):14.1f} %{100 * right:11.0f} %")
    return lines


if __name__ == "__main__":
    main()
