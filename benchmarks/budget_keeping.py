"""Does a search keep its budget? Simulated on public labels: 5,000 Once-for-all subnets measured on two GPUs with batch 64.

    python benchmarks/budget_keeping.py OFA_LATENCY.csv [--fitted 100] [--device v100_64_ms] [--draws 20]

More MACs stand in for more accuracy. A predictor is fitted on random networks; for each of five budgets (20 to 80 % quantile of the
labels) each method picks, among the networks not fitted on, the one with the most MACs that it believes to be within the budget. To
measure a network is to look up its label. The table shows, over all budgets and draws of fitted networks, how often the pick was over
the budget, how often it found nothing, how many MACs picks within the budget lost against the best network there, and how many networks
were measured on the way.

    search          this package: iterations that measure some of their archive and refit, finalists measured together
    upper end       its predictor alone, intervals held against the budget
    middle          its predictor alone
    xgboost         gradient boosting on the same features, alone
    xgboost top 10  the ten with the most MACs that it predicts to be within, measured
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency_prediction_ofa import DEVICES, GPU, METHODS, NUM_FITTED, RESOLUTIONS, read_labels
from benchmarks.machine import circumstances
from nat_deploy.predictors.latency import BlockIndex, TablePredictor, fit_on_networks
from nat_deploy.predictors.latency.observations import network_observations
from nat_deploy.predictors.latency.prediction import FloatArray
from nat_deploy.search import ERROR, LATENCY, Budget, Evaluations, RunFolder, SearchSettings, make_problem
from nat_deploy.search.finalists import choose_finalists
from nat_deploy.search.genes import to_gene_string
from nat_deploy.search.probing import probe_archive
from nat_deploy.search.sittings import Devices
from nat_deploy.search.survival import survive_aimed
from nat_deploy.spaces import Architecture, Genes, SearchSpace, make_space

QUANTILES = (0.2, 0.35, 0.5, 0.65, 0.8)
ITERATIONS, ARCHIVE_SIZE = 5, 48  # of the search's default effort
AIMED_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Networks to choose from: genes `(n, num_genes)`, measured latencies and MACs `(n,)`."""

    space: SearchSpace
    genes: Genes
    latency_ms: FloatArray
    macs: FloatArray

    def take(self, rows: NDArray[np.int64]) -> "Labels":
        return replace(self, genes=self.genes[rows], latency_ms=self.latency_ms[rows], macs=self.macs[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """What a method chose for a budget: a row of the labels, or None, and how many networks it measured."""

    row: int | None
    num_measured: int = 0


@dataclass(frozen=True)
class Lookup:
    """A device whose measurements are labels with a relative noise, half of it in exact sittings, and intervals that know it."""

    labels: Labels
    noise: float
    rng: np.random.Generator
    asked: list[Architecture] = field(default_factory=list)

    @dataclass(frozen=True)
    class Measured:
        median_ms: float
        low_ms: float
        high_ms: float

    def __call__(self, architectures: Sequence[Architecture], *, sitting: str, exact: bool) -> list["Lookup.Measured"]:
        self.asked.extend(architectures)
        rows = {to_gene_string(genes): row for row, genes in enumerate(self.labels.genes)}
        found = [self.labels.latency_ms[rows[to_gene_string(self.labels.space.encode(a))]] for a in architectures]
        noise = self.noise / 2 if exact else self.noise
        measured = found * np.exp(noise * self.rng.standard_normal(len(found)))
        width = np.exp(1.96 * noise)
        return [Lookup.Measured(float(ms), float(ms / width), float(ms * width)) for ms in measured]


def search(source: TablePredictor, labels: Labels, upper_ms: float, noise: float, rng: np.random.Generator) -> Pick:
    """The search without a supernet: in each iteration, survival of the package picks an archive from all networks."""
    settings = SearchSettings(objectives=(ERROR, LATENCY), budgets=(Budget(objective=LATENCY, upper=upper_ms),))
    problem = make_problem(source.space, settings, {LATENCY: source})
    error = 100 * (1 - labels.macs / labels.macs.max())
    lookup = Lookup(labels=labels, noise=noise, rng=rng)
    with tempfile.TemporaryDirectory() as folder:
        devices = Devices(measure={LATENCY: lookup}, folder=RunFolder.create(Path(folder) / "run", settings, {}))
        for iteration in range(ITERATIONS):
            archive = Evaluations(
                objectives=problem.names,
                genes=labels.genes,
                values=problem.values(labels.genes, error),
                measured=np.ones(len(error), dtype=np.bool_),
                supernet_version=0,
                num_sittings=len(problem.sittings),
            )
            held_to = problem.violation(labels.genes), problem.likely_violation(labels.genes)
            archive = archive.take(survive_aimed(archive.values, *held_to, ARCHIVE_SIZE, rng, aimed_share=AIMED_SHARE))
            problem = probe_archive(problem, devices, archive, settings.probes, name=f"iteration-{iteration:03}")
        _, finalists = choose_finalists(
            problem,
            archive,
            devices,
            _nothing_else,
            rng,
            count=settings.finalists,
            max_rounds=settings.finalist_rounds,
        )
    rows = {to_gene_string(genes): row for row, genes in enumerate(labels.genes)}
    return Pick(row=rows[finalists[0].genes], num_measured=len(lookup.asked))


def _nothing_else(genes: Genes) -> Evaluations:
    raise LookupError("only the networks of the file can be measured")


def most_macs(labels: Labels, held_ms: FloatArray, upper_ms: float) -> Pick:
    """The network with the most MACs among those whose `held_ms`, shape `(n,)`, is within."""
    within = np.flatnonzero(held_ms <= upper_ms)
    return Pick(row=int(within[labels.macs[within].argmax()]) if len(within) else None)


def verified(labels: Labels, predicted_ms: FloatArray, upper_ms: float, count: int = 10) -> Pick:
    """Of the `count` networks with the most MACs that are predicted to be within, the best that is."""
    within = np.flatnonzero(predicted_ms <= upper_ms)
    top = within[np.argsort(-labels.macs[within])][:count]
    good = top[labels.latency_ms[top] <= upper_ms]
    return Pick(row=int(good[0]) if len(good) else None, num_measured=len(top))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A pick against the truth; `lost` is a share of the MACs of the best network within the budget, None where the pick is none or over."""

    is_over: bool
    overshoot: float
    lost: float | None
    num_measured: int


def judge(labels: Labels, upper_ms: float, pick: Pick) -> Outcome:
    best = labels.macs[labels.latency_ms <= upper_ms].max()
    if pick.row is None:
        return Outcome(is_over=False, overshoot=0.0, lost=None, num_measured=pick.num_measured)
    latency = labels.latency_ms[pick.row]
    return Outcome(
        is_over=bool(latency > upper_ms),
        overshoot=float(latency / upper_ms - 1),
        lost=None if latency > upper_ms else float(1 - labels.macs[pick.row] / best),
        num_measured=pick.num_measured,
    )


def simulate(labels: Labels, index: BlockIndex, num_fitted: int, draw: int, noise: float) -> dict[str, list[Outcome]]:
    """All methods under all budgets for one draw of fitted networks."""
    order = np.random.default_rng(draw).permutation(len(labels.genes))
    fitted, left = labels.take(order[:num_fitted]), labels.take(order[num_fitted:])
    source = TablePredictor(
        space=labels.space,
        index=index,
        observations=network_observations(index, fitted.genes, fitted.latency_ms),
        predictor=fit_on_networks(index, GPU, fitted.genes, fitted.latency_ms),
    )
    ours = source.predict(left.genes)
    boosted = np.asarray(METHODS["xgboost"](index, fitted.genes, fitted.latency_ms, left.genes))
    methods: dict[str, Callable[[float], Pick]] = {
        "search": lambda upper: search(source, left, upper, noise, np.random.default_rng((draw, num_fitted))),
        "upper end": lambda upper: most_macs(left, ours.high, upper),
        "middle": lambda upper: most_macs(left, ours.value, upper),
        "xgboost": lambda upper: most_macs(left, boosted, upper),
        "xgboost top 10": lambda upper: verified(left, boosted, upper),
    }
    uppers = np.quantile(labels.latency_ms, QUANTILES)
    return {name: [judge(left, upper, pick(upper)) for upper in uppers] for name, pick in methods.items()}


def row(outcomes: list[Outcome]) -> str:
    lost = [outcome.lost for outcome in outcomes if outcome.lost is not None]
    over = [outcome.overshoot for outcome in outcomes if outcome.is_over]
    shares = "".join(f"{100 * share:8.2f} %" for share in (np.mean(lost), max(lost))) if lost else f"{'-':>10}{'-':>10}"
    return (
        f"{len(over):5}{len(outcomes) - len(lost) - len(over):7}{100 * max(over, default=0):9.1f} %{shares}"
        f"{np.mean([o.num_measured for o in outcomes]):9.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--fitted", type=int, nargs="*", default=NUM_FITTED)
    parser.add_argument("--device", nargs="*", default=DEVICES)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation of a measurement, as a share")
    arguments = parser.parse_args()
    print(circumstances("natdeploy", "numpy", "xgboost-cpu"))
    space = make_space("ofa-mbv3-w1.0", resolutions=RESOLUTIONS)
    index = BlockIndex(space)
    genes, labels = read_labels(arguments.file, index)
    macs = np.asarray(space.count(genes).macs, dtype=np.float64)
    print(f"{len(QUANTILES)} budgets x {arguments.draws} draws, noise of a measurement {100 * arguments.noise:g} %")
    print(f"{'':37}{'over':>6}{'none':>7}{'worst over':>11}{'MACs lost':>10}{'worst':>10}{'measured':>9}")
    for device in arguments.device:
        everything = Labels(space=space, genes=genes, latency_ms=labels[device], macs=macs)
        for num_fitted in arguments.fitted:
            started = time.perf_counter()
            found: dict[str, list[Outcome]] = {}
            for draw in range(arguments.draws):
                for name, outcomes in simulate(everything, index, num_fitted, draw, arguments.noise).items():
                    found.setdefault(name, []).extend(outcomes)
            for name, outcomes in found.items():
                print(f"{device:16}{num_fitted:5}  {name:14}{row(outcomes)}", flush=True)
            print(f"{'':23}({time.perf_counter() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
