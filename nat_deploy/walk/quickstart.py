"""Quickstart: the whole walk on this machine, with what the package carries."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nat_deploy.export import ExportReport, export_subnet
from nat_deploy.profiling import find_device
from nat_deploy.report import write_report
from nat_deploy.spaces import make_space
from nat_deploy.spaces.subnet_file import load_subnet
from nat_deploy.walk.benchmark import BenchmarkResult, benchmark_file
from nat_deploy.walk.latency import get_latency_model
from nat_deploy.walk.request import SearchRequest
from nat_deploy.walk.search import SearchAnswer, SearchListener, search_network
from nat_deploy.walk.shipped import SHIPPED_RESOLUTIONS, SHIPPED_SPACE
from profilers import Settings

PROFILE_MINUTES = 0.75
FIRST_EPOCHS, FURTHER_EPOCHS = 12, 2  # the digits are few: an epoch of them is 17 steps
BUDGET_SHARE = 0.4  # of random networks meet the quickstart's budget: tight enough to matter, loose enough to leave a choice


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickstartResult:
    """What came of the walk, told for people and for programs."""

    search: SearchAnswer
    export: ExportReport
    benchmark: BenchmarkResult
    report: Path

    @property
    def text(self) -> str:
        chosen, measured = self.search.chosen, self.benchmark.measurement
        test = (
            "" if self.search.test is None else f", {self.search.test.top1_percent:.1f} % on test images that no choice looked at"
        )
        return "\n".join(
            [
                f"budget      {', '.join(map(str, self.search.budgets))}",
                f"network     {100 - chosen.error_percent:.1f} % on validation images{test}",
                f"latency     {measured.median_ms:.3f} ms ({measured.low_ms:.3f} to {measured.high_ms:.3f}) measured on {measured.target.key}",
                f"subnet      {self.search.subnet_file}",
                f"model       {self.export.model} (outputs differ by {self.export.parity.relative_error:.0e} at most)",
                f"report      {self.report}",
                f"now yours:  natdeploy search --latency-budget {self.search.budgets[0].upper:g}ms --data FOLDER_OF_IMAGES",
            ]
        )

    @property
    def document(self) -> dict[str, object]:
        measured = self.benchmark.measurement
        return {
            "run": str(self.search.run),
            "budgets": [asdict(budget) for budget in self.search.budgets],
            "validation_top1_percent": 100 - self.search.chosen.error_percent,
            "test_top1_percent": None if self.search.test is None else self.search.test.top1_percent,
            "latency_ms": {
                "value": measured.median_ms,
                "low": measured.low_ms,
                "high": measured.high_ms,
                "target": measured.target.key,
            },
            "subnet": str(self.search.subnet_file),
            "model": str(self.export.model),
            "report": str(self.report),
        }


def run_quickstart(out: Path, *, data: str, seed: int, listener: SearchListener, tell: Callable[[str], None]) -> QuickstartResult:
    """Profile this machine's CPU, search under a budget that four of ten random networks meet, export, benchmark, report.

    Args:
        out: Folder of the run. A finished run there is kept: the next free `out-2`, `out-3`, ... is used.
        data: Data set by name, or a folder of images.
        listener: Told of progress.
        tell: Takes a sentence at the start of each part.
    """
    run = _free_folder(out)
    tell(f"1/5 profile: how fast is this machine? (about {60 * PROFILE_MINUTES:.0f} s; tables are kept in {run})")
    budget = _pick_budget(run, seed, listener)
    tell(f"2/5 search: the most accurate network within {budget} on one thread, for the data set '{data}'")
    request = SearchRequest(
        latency_budgets=(budget,),
        data=(data,),
        effort="quick",
        first_epochs=FIRST_EPOCHS,
        further_epochs=FURTHER_EPOCHS,
        seed=seed,
        finalists=3,
    )
    found = search_network(request, run, listener, resume=True)
    tell("3/5 export: ONNX, outputs compared")
    exported = export_subnet(load_subnet(found.subnet_file), run / "subnet.onnx")
    tell("4/5 benchmark: the exported file, measured again")
    benchmark = benchmark_file(exported.model, "cpu", settings=Settings.preset("fast"), tables=run)
    tell("5/5 report")
    return QuickstartResult(search=found, export=exported, benchmark=benchmark, report=write_report(run, None))


def _free_folder(out: Path) -> Path:
    """`out`, unless a finished run is there."""
    number, run = 1, out
    while (run / "report.html").exists():
        number += 1
        run = out.with_name(f"{out.name}-{number}")
    run.mkdir(parents=True, exist_ok=True)
    return run


def _pick_budget(run: Path, seed: int, listener: SearchListener) -> str:
    """A latency that `BUDGET_SHARE` of random networks are predicted to meet, rounded to two digits."""
    space = make_space(SHIPPED_SPACE, resolutions=SHIPPED_RESOLUTIONS)
    latency = get_latency_model(
        find_device("cpu"), space, run=run, profile_minutes=PROFILE_MINUTES, seed=seed, on_profile=listener.on_profile
    )
    genes = space.sample(np.random.default_rng(seed), 1000)
    return f"{np.quantile(latency.predictor.predict(genes).value, BUDGET_SHARE):.2g}ms"
