"""The whole GPU path within 20 minutes: profile, predict, measure unseen engines, keep budgets, and PyTorch beside it.

    python benchmarks/gpu_tensorrt.py [--python DEST/python] [--minutes 20] [--out FOLDER]

Engines are built and timed by TensorRT of this Python (`pip install tensorrt`), or of another one: with a bundle of TensorRT 8.5.3
and Python 3.9, unpack it and name its Python; only `profilers/` runs in it:

    sh unpack.sh PARTS DEST && python benchmarks/gpu_tensorrt.py --python DEST/python

FOLDER gets `tables/<target>/<space>.json` with its sittings, every raw measurement, and `results.txt`, all written as it goes: a
rerun with the same folder takes up what is there. Each part has a share of the minutes and ends with it; what was left out is said.
Where there is no GPU, `--device cpu --minutes 2 --networks 10 --unseen 4` does the same with ONNX Runtime.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from nat_deploy.errors import MeasurementError
from nat_deploy.files import write_atomically
from nat_deploy.predictors.latency import (
    BASELINES,
    MIN_NETWORKS,
    LatencyTable,
    Scores,
    fit_baseline,
    make_card,
    measured_index,
    predictor_from_table,
    score,
)
from nat_deploy.profiling import Device, find_device, judge, measure_architectures, profile
from nat_deploy.spaces import Architecture, SearchSpace, make_space
from nat_deploy.supernets import Subnet
from profilers.measurement import Measurement
from profilers.settings import Settings

_SITTING = 12
_PROFILE, _UNSEEN, _PYTORCH = 0.50, 0.25, 0.10  # shares of the minutes of a batch size; budgets get the rest
_BUDGET_QUANTILES = (0.25, 0.5, 0.75)
_CANDIDATES_EACH = 4
_PYTORCH_RUNS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Lines for people: printed, and kept in a file from the first one on."""

    path: Path

    def say(self, *lines: str) -> None:
        print(*lines, sep="\n", flush=True)
        before = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        write_atomically(self.path, "".join([before, *(f"{line}\n" for line in lines)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A moment of `time.monotonic`."""

    at_s: float

    @property
    def left_s(self) -> float:
        return max(0.0, self.at_s - time.monotonic())

    def share(self, part: float) -> "Deadline":
        """The end of a part of what is left."""
        return Deadline(at_s=time.monotonic() + part * self.left_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="gpu", help="as in natdeploy devices")
    parser.add_argument("--python", help="interpreter with TensorRT and numpy")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=(1, 32))
    parser.add_argument("--networks", type=int, default=300, help="measured for the table at most")
    parser.add_argument("--unseen", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    report = Report(path=arguments.out / "results.txt")
    write_atomically(report.path, "")
    end = Deadline(at_s=time.monotonic() + 60 * arguments.minutes)
    space = make_space("ofa-mbv3-w1.0")
    for place, batch_size in enumerate(arguments.batch_sizes):
        found = find_device(arguments.device).with_settings(batch_size=batch_size)
        device = replace(found, python=arguments.python or found.python)
        part = end.share(1 / (len(arguments.batch_sizes) - place))
        _one_batch_size(device, space, part, report, arguments.out, arguments.networks, arguments.unseen)
    report.say("", f"all done with {end.left_s:.0f} s left of {60 * arguments.minutes:.0f} s")


def _one_batch_size(
    device: Device, space: SearchSpace, end: Deadline, report: Report, out: Path, num_networks: int, num_unseen: int
) -> None:
    whole_s = end.left_s
    started = time.monotonic()
    table = profile(
        device, space, out_dir=out / "tables", minutes=_PROFILE * whole_s / 60, num_networks=num_networks
    )  # fmt: skip
    folder = out / table.target.key
    report.say("", f"batch {device.batch_size}: profiled in {time.monotonic() - started:.0f} s", *make_card(space, table).lines())
    if table.num_networks < MIN_NETWORKS:
        report.say(f"a predictor needs {MIN_NETWORKS} networks, but {table.num_networks} were measured; give more --minutes")
        return
    until = Deadline(at_s=time.monotonic() + _UNSEEN * whole_s)
    unseen = _draw(space, table, num_unseen, seed=1)
    measured = _measure(device, space, unseen, folder / "unseen", until, report)
    unseen = unseen[: len(measured)]
    _score(space, table, unseen, measured, report)
    until = Deadline(at_s=time.monotonic() + _PYTORCH * whole_s)
    report.say("", f"a network of {measured[0].median_ms:.3f} ms (median) on {table.target.key}, in PyTorch {torch.__version__}")
    for name, timing in _pytorch(space, unseen[0], device, until):
        report.say(f"{name:24}{timing}")
    _keep_budgets(device, space, table, measured, folder / "budgets", end, report)


def _draw(space: SearchSpace, table: LatencyTable, count: int, *, seed: int) -> list[Architecture]:
    """Random architectures that the table does not hold."""
    known = {entry.architecture for entry in table.networks}
    sampled = (space.decode(genes) for genes in space.sample(np.random.default_rng(seed), 4 * count + 20))
    return [architecture for architecture in dict.fromkeys(sampled) if architecture not in known][:count]


def _measure(
    device: Device, space: SearchSpace, architectures: Sequence[Architecture], folder: Path, until: Deadline, report: Report
) -> list[Measurement]:
    """Measurements of the first architectures, as many as the time allows, one sitting at least."""
    measured: list[Measurement] = []
    slowest_s = 0.0
    for start in range(0, len(architectures), _SITTING):
        if measured and until.left_s < slowest_s:
            report.say(f"{len(measured)} of {len(architectures)} networks were measured before the time was up")
            break
        before_s = time.monotonic()
        part = architectures[start : start + _SITTING]
        measured += measure_architectures(device, space, part, work_dir=folder / f"{start:03d}", settings=Settings.preset("fast"))
        slowest_s = max(slowest_s, time.monotonic() - before_s)
    return measured


def _score(
    space: SearchSpace, table: LatencyTable, unseen: Sequence[Architecture], measured: Sequence[Measurement], report: Report
) -> None:
    latency_ms = np.array([measurement.p25_ms for measurement in measured])
    genes = np.array([space.encode(architecture) for architecture in unseen])
    index = measured_index(space, table)
    fitted = np.array([index.space.encode(entry.architecture) for entry in table.networks])
    labels = np.array([entry.timing.p25_ms for entry in table.networks])
    own_genes = np.array([index.space.encode(architecture) for architecture in unseen])
    report.say(
        "",
        f"{len(unseen)} unseen networks, {latency_ms.min():.3f} to {latency_ms.max():.3f} ms, predicted from {table.num_networks}",
        f"{'':24}{'MAPE':>8}{'+-5 %':>8}{'+-10 %':>8}{'tau':>7}{'in 95 %':>9}",
        _row("natdeploy", score(predictor_from_table(space, table).predict(genes), latency_ms)),
        *(_row(name, score(fit_baseline(name, index, fitted, labels).predict(own_genes), latency_ms)) for name in BASELINES),
    )


def _row(name: str, scores: Scores) -> str:
    coverage = "-" if scores.coverage is None else f"{100 * scores.coverage:.1f} %"
    shares = "".join(f"{100 * share:6.1f} %" for share in (scores.mape, scores.within_5, scores.within_10))
    return f"{name:24}{shares}{scores.kendall_tau:7.3f}{coverage:>9}"


def _keep_budgets(
    device: Device,
    space: SearchSpace,
    table: LatencyTable,
    measured: Sequence[Measurement],
    folder: Path,
    until: Deadline,
    report: Report,
) -> None:
    """Networks predicted to just keep a budget are verified in one sitting, and measured in another to see if they do."""
    budgets = np.quantile([measurement.p25_ms for measurement in measured], _BUDGET_QUANTILES)
    pool = _draw(space, table, 500, seed=2)
    # Only networks whose whole interval keeps a budget are worth a verification; those nearest to it are the hardest.
    highest_ms = predictor_from_table(space, table).predict(np.array([space.encode(each) for each in pool])).high
    report.say("", f"{'budget':>10}{'tried':>8}{'verified':>10}{'over in a second sitting':>26}")
    for number, budget_ms in enumerate(budgets):
        if number and not until.left_s:
            report.say("the other budgets were left out, since the time was up")
            break
        places = [place for place in np.argsort(-highest_ms) if highest_ms[place] <= budget_ms][:_CANDIDATES_EACH]
        chosen = [pool[place] for place in places]
        if not chosen:
            report.say(f"{budget_ms:7.3f} ms: no network is predicted to keep it")
            continue
        sittings = [
            measure_architectures(device, space, chosen, work_dir=folder / f"{number}-{name}", settings=settings, seed=seed)
            for seed, (name, settings) in enumerate((("verify", Settings()), ("again", Settings())))
        ]
        kept = [again for first, again in zip(*sittings, strict=True) if judge(first, budget_ms).is_kept]
        over = [again for again in kept if judge(again, budget_ms).standing == "over"]
        report.say(f"{budget_ms:7.3f} ms{len(chosen):8}{len(kept):10}{len(over):26}")


def _pytorch(space: SearchSpace, architecture: Architecture, device: Device, end: Deadline) -> Iterator[tuple[str, str]]:
    """Names of ways to run a network in PyTorch, and what each takes or why it was left out."""
    on_gpu = device.runtime.startswith("tensorrt")
    if on_gpu and not torch.cuda.is_available():
        yield "PyTorch", "left out, since this PyTorch sees no GPU"
        return
    place = torch.device("cuda" if on_gpu else "cpu")
    dtype = torch.float16 if device.precision == "fp16" else torch.float32
    network = Subnet(space.blocks(architecture)).eval().to(place, dtype)
    images = torch.randn(device.batch_size, 3, architecture.resolution, architecture.resolution, device=place, dtype=dtype)
    ways: list[tuple[str, Callable[[], Callable[[], object]]]] = [
        ("eager", lambda: lambda: network(images)),
        ("torch.compile", lambda: _compiled(network, images)),
    ]
    if on_gpu:
        ways.insert(1, ("CUDA graph", lambda: _captured(network, images)))
    with torch.inference_mode():
        for name, make in ways:
            if not end.left_s:
                yield name, "left out, since the time was up"
                continue
            try:
                yield name, f"{_median_ms(make(), synchronize=on_gpu):.3f} ms"
            except Exception as error:
                yield name, f"left out: {str(error).strip().splitlines()[0][:120]}"


def _compiled(network: Subnet, images: torch.Tensor) -> Callable[[], object]:
    compiled = torch.compile(network)
    return lambda: compiled(images)


def _captured(network: Subnet, images: torch.Tensor) -> Callable[[], object]:
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(3):
            network(images)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        network(images)
    return graph.replay


def _median_ms(run: Callable[[], object], *, synchronize: bool) -> float:
    """Median time of a caller who waits for each run."""
    times = []
    for _ in range(_PYTORCH_RUNS + 10):
        started = time.perf_counter()
        run()
        if synchronize:
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[10:])


if __name__ == "__main__":
    try:
        main()
    except MeasurementError as error:
        raise SystemExit(str(error)) from error
