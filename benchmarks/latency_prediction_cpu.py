"""Latency prediction on this machine's CPU: profile for some seconds, then measure unseen random subnets, each in two sittings.

    python benchmarks/latency_prediction_cpu.py [--space ofa-mbv3-w1.0] [--resolutions 160 256] [--seconds 60] [--unseen 40]
    [--out FOLDER]

Prints the share within +-5 % and +-10 %, MAPE, rank correlations, and the coverage and half width of the intervals, beside baselines fitted on the same
networks (MACs alone, depth alone, plain ridge) and beside the repeatability of the measurements themselves, which no predictor
can beat; errors are those of the means of the two sittings, coverage is that of the labels of each. The same is printed for the table as it was after a tenth of its sittings: after the first minute of ten. A rerun with
the same --out goes on from what is there; with --seconds 0 nothing is profiled, and what is there is scored.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.machine import circumstances
from nat_deploy.predictors.latency import (
    BASELINES,
    STATISTICS,
    LatencyTable,
    Scores,
    Statistic,
    fit_baseline,
    load_table,
    make_card,
    measured_index,
    predictor_from_table,
    score,
)
from nat_deploy.profiling import find_device, measure_architectures, profile
from nat_deploy.spaces import Architecture, SearchSpace, make_space
from profilers.measurement import Measurement
from profilers.settings import Settings

_SITTING = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="ofa-mbv3-w1.0")
    parser.add_argument("--resolutions", type=int, nargs=2, default=(160, 256))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--unseen", type=int, default=40)
    parser.add_argument("--preset", default="fast", help="settings of the labels of the unseen networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    print(circumstances("natdeploy", "onnxruntime"))
    out = arguments.out or Path(tempfile.mkdtemp(prefix="natdeploy-latency-"))
    low, high = arguments.resolutions
    space = make_space(arguments.space, resolutions=tuple(range(low, high + 1, 4)))
    device = find_device("cpu")

    started = time.perf_counter()
    if arguments.seconds:
        table = profile(device, space, out_dir=out / "tables", minutes=arguments.seconds / 60, seed=arguments.seed)
    else:
        table = load_table(next((out / "tables").glob(f"*/{space.name}.json")))
    print(f"profiled in {time.perf_counter() - started:.0f} s", *make_card(space, table).lines(), sep="\n")

    known = {entry.architecture for entry in table.networks}
    sampled = (space.decode(genes) for genes in space.sample(np.random.default_rng((arguments.seed, 1)), 4 * arguments.unseen))
    unseen = [arch for arch in dict.fromkeys(sampled) if arch not in known][: arguments.unseen]
    settings = Settings.preset(arguments.preset)
    sittings = [
        [
            measurement
            for start in range(0, len(unseen), _SITTING)
            for measurement in measure_architectures(
                device,
                space,
                unseen[start : start + _SITTING],
                work_dir=out / f"unseen-{sitting}-{start:03d}",
                settings=settings,
                seed=sitting,
            )
        ]
        for sitting in range(2)
    ]
    for part in (_first_sittings(table, math.ceil(table.num_sittings / 10)), table):
        for statistic in STATISTICS:
            _score(space, part, unseen, sittings, statistic)


def _first_sittings(table: LatencyTable, count: int) -> LatencyTable:
    return replace(
        table,
        networks=tuple(entry for entry in table.networks if entry.sitting < count),
        blocks=tuple(entry for entry in table.blocks if entry.sitting < count),
    )


def _score(
    space: SearchSpace,
    table: LatencyTable,
    unseen: Sequence[Architecture],
    sittings: Sequence[Sequence[Measurement]],
    statistic: Statistic,
) -> None:
    genes = np.array([space.encode(arch) for arch in unseen])
    index = measured_index(space, table)
    own_genes = np.array([index.space.encode(arch) for arch in unseen])
    fitted = np.array([index.space.encode(entry.architecture) for entry in table.networks])
    labels = np.array([[getattr(m, f"{statistic}_ms") for m in sitting] for sitting in sittings])
    measured = labels.mean(axis=0)
    print(
        f"\nafter {table.num_sittings} sittings, {table.num_networks} networks and {len(table.blocks)} blocks: "
        f"{len(unseen)} unseen networks, {statistic}, {measured.min():.2f} to {measured.max():.2f} ms"
    )
    print(f"{'':24}{'+-5 %':>8}{'+-10 %':>8}{'MAPE':>8}{'tau':>7}{'rho':>7}{'in 95 %':>9}{'width':>9}")
    prediction = predictor_from_table(space, table, statistic=statistic).predict(genes)
    # An interval is for a measurement in one sitting; the mean of two is closer to the middle.
    coverage = float(np.mean([(prediction.low <= sitting) & (sitting <= prediction.high) for sitting in labels]))
    _show("natdeploy", replace(score(prediction, measured), coverage=coverage))
    latency_ms = np.array([entry.timing.value_ms(statistic) for entry in table.networks])
    for name in reversed(BASELINES):
        _show(name, score(fit_baseline(name, index, fitted, latency_ms).predict(own_genes), measured))
    _show("same net, two sittings", score(labels[0], labels[1]))


def _show(name: str, scores: Scores) -> None:
    interval = ["-" if value is None else f"{100 * value:.1f} %" for value in (scores.coverage, scores.half_width)]
    print(
        f"{name:24}{100 * scores.within_5:6.1f} %{100 * scores.within_10:6.1f} %{100 * scores.mape:6.2f} %"
        f"{scores.kendall_tau:7.3f}{scores.spearman:7.3f}{interval[0]:>9}{interval[1]:>9}"
    )


if __name__ == "__main__":
    main()
