"""The report as tables of text: what the terminal, Markdown and HTML show alike."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nat_deploy.predictors.latency import LatencyTable, score
from nat_deploy.report.latencies import Latencies, recorded_prediction
from nat_deploy.report.network import Network
from nat_deploy.report.reading import Iteration, RunReading
from nat_deploy.report.wording import (
    accuracy,
    architecture_lines,
    architecture_short,
    bound,
    cost_text,
    name_of,
    percent,
    size,
)
from nat_deploy.search.objective import ERROR, make_objective

if TYPE_CHECKING:
    from rich.table import Table as RichTable

_LEAST_TO_SCORE = 2
_SOURCES = {"evaluated": "evaluated", "latency": "predicted and measured", "counted": "counted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text under a header; `empty` is said instead of a table without rows."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = ""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.header) for row in self.rows):
            raise ValueError(f"every row of table '{self.title}' must have {len(self.header)} cells")


def to_rich(table: Table) -> "RichTable":
    """The table for the terminal; nothing in a cell is taken for markup."""
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        title=table.title, title_justify="left", show_header=any(table.header), caption=None if table.rows else table.empty
    )
    for name in table.header:
        shown.add_column(name)
    for row in table.rows:
        shown.add_row(*(Text(cell, overflow="fold") for cell in row))
    return shown


def all_tables(run: RunReading) -> tuple[Table, ...]:
    """Every table of a run, the answer first."""
    return (
        answer_table(run),
        finalists_table(run),
        latency_table(run),
        iterations_table(run),
        files_table(run),
        request_table(run),
        settings_table(run),
        provenance_table(run),
    )


def answer_table(run: RunReading) -> Table:
    """The chosen network against the budgets."""
    rows = () if run.chosen is None else tuple(_answer_rows(run, run.chosen))
    return Table(title="The chosen network", header=("", ""), rows=rows, empty="No network is chosen yet.")


def _answer_rows(run: RunReading, chosen: Network) -> Iterator[tuple[str, str]]:
    several = len(run.settings.errors) > 1
    weights = f"with the supernet{'s' if several else ''}'{'' if several else 's'} weights (version {chosen.supernet_version})"
    for name, value in zip(run.accuracy_names, chosen.accuracies_percent, strict=True):
        yield name, f"{percent(value)} on the validation images, {weights}"
    for test in run.tests:
        yield (
            f"Top-1 accuracy on test images{f' of {test.data}' if several else ''}",
            f"{percent(test.top1_percent)} of {test.num_images} images that no choice looked at",
        )
    for cost in chosen.costs:
        budget = next((budget for budget in run.settings.budgets if budget.objective == cost.name), None)
        verdict = "" if budget is None else f"; {'within' if cost.meets(budget) else 'over'} the budget of {bound(budget)}"
        yield name_of(cost.name), cost_text(cost) + verdict
    yield "Architecture", "; ".join(architecture_lines(chosen))
    for known in run.subnet_objectives:
        if known.name == ERROR and known.value == chosen.error_percent:
            continue
        if chosen.cost(known.name) is None:
            yield f"{known.name} (subnet.json)", f"{known.value:g} ({known.source})"


def finalists_table(run: RunReading) -> Table:
    """The networks to choose from, most accurate first."""
    names = tuple(name for name in run.cost_names if any(network.cost(name) for network in run.finalists))
    rows = tuple(
        (
            str(rank),
            *map(percent, network.accuracies_percent),
            *(cost_text(network.cost(name)) for name in names),
            {True: "yes", False: "no", None: "not known"}[network.meets(run.settings.budgets)],
            architecture_short(network),
        )
        for rank, network in enumerate(run.finalists, start=1)
    )
    header = ("#", *run.accuracy_names, *map(name_of, names), "Within budget", "Architecture")
    return Table(title="Finalists", header=header, rows=rows, empty="There are no finalists yet: the search has not ended.")


def latency_table(run: RunReading) -> Table:
    """How close latency predictions came to what the run then measured."""
    header = (
        "Objective",
        "Target",
        "Measured",
        "Within ±5 %",
        "Within ±10 %",
        "Mean error",
        "Kendall tau",
        "Inside 95 % interval",
    )
    rows = tuple(_latency_row(found) for found in run.latencies if found.measurements)
    return Table(
        title="Predicted against measured latency", header=header, rows=rows, empty="No latency was measured in this run."
    )


def _latency_row(found: Latencies) -> tuple[str, ...]:
    records, target = found.first_measurements, found.target or ""
    head = (name_of(found.objective), target, f"{len(records)} networks")
    if len(records) < _LEAST_TO_SCORE:
        return (*head, "–", "–", "–", "–", "–")
    scores = score(recorded_prediction(records), np.array([record.median_ms for record in records]))
    coverage = "–" if scores.coverage is None else _share(scores.coverage)
    agreement = (_share(scores.within_5), _share(scores.within_10), _share(scores.mape))
    return (*head, *agreement, f"{scores.kendall_tau:.2f}", coverage)


def iterations_table(run: RunReading) -> Table:
    """What each iteration brought; of several data sets, surrogates and their scores are in the order of the error objectives."""
    header = (
        "Iteration",
        "Networks",
        "New",
        "Best within budget",
        "Hypervolume before",
        "after adaptation",
        "with new networks",
        "Surrogate",
        "Tau on new",
        "Tau of MACs",
    )
    rows = tuple(_iteration_row(iteration) for iteration in run.iterations)
    return Table(title="Iterations", header=header, rows=rows, empty="No iteration has ended yet, not even the initial archive.")


def _iteration_row(iteration: Iteration) -> tuple[str, ...]:
    record, surrogates = iteration.record, iteration.record.surrogates
    volumes = record.hypervolumes
    return (
        str(record.iteration),
        str(len(record.genes)),
        str(record.num_new),
        "–" if iteration.best is None else accuracy(iteration.best),
        *(f"{volume:.4f}" for volume in (volumes.before, volumes.adapted, volumes.after)),
        ", ".join(surrogate.method for surrogate in surrogates) or "–",
        ", ".join(f"{surrogate.on_new.kendall_tau:.2f}" for surrogate in surrogates) or "–",
        ", ".join(f"{surrogate.macs_kendall_tau:.2f}" for surrogate in surrogates) or "–",
    )


def files_table(run: RunReading) -> Table:
    """What can be taken away."""
    rows = tuple((file.name, size(file.num_bytes), file.remark) for file in run.files)
    return Table(
        title="Files", header=("File", "Size", "Checked"), rows=rows, empty="No network has been written into the run folder yet."
    )


def settings_table(run: RunReading) -> Table:
    """What the search was asked."""
    settings = run.settings
    budgets = ", ".join(f"{name_of(b.objective)} at most {bound(b)}" for b in settings.budgets) or "none"
    rows = (
        ("Objectives", ", ".join(f"{name_of(name)} ({_SOURCES[make_objective(name).source]})" for name in settings.objectives)),
        ("Budgets", budgets),
        ("Wanted", ", ".join(f"{name_of(w.objective)} counts {w.weight:g}" for w in settings.weights) or _most_accurate(run)),
        ("Seed", str(settings.seed)),
        ("Iterations", str(settings.iterations)),
        ("Archive", f"{settings.initial_size} networks at first, {settings.archive_size} at most"),
        ("New per iteration", str(settings.new_per_iteration)),
        ("Measured in each iteration", f"{settings.probes} networks on each device"),
        ("Evolution", f"{settings.population_size} networks for {settings.generations} generations"),
        ("Surrogates compared", ", ".join(settings.surrogates)),
        ("Supernet adaptation", f"on archive {settings.adaptation}" if settings.adapt else "off"),
    )
    return Table(title="Settings", header=("", ""), rows=rows)


def _most_accurate(run: RunReading) -> str:
    return "the most accurate" if len(run.settings.errors) == 1 else "the highest mean accuracy over the data sets"


def request_table(run: RunReading) -> Table:
    """What a person asked for."""
    return Table(title="Request", header=("", ""), rows=run.request, empty="The run did not write down what was asked for.")


def provenance_table(run: RunReading) -> Table:
    """What the result depends on, as the run wrote it down, and what its latency table says of the device."""
    targets = tuple((f"{name_of(found.objective)}: target", found.target) for found in run.latencies if found.target)
    rows = (
        ("Run folder", str(run.path)),
        ("Started", run.provenance.get("date", run.started.isoformat(timespec="seconds"))),
        *targets,
        *(row for found in run.latencies if found.table for row in _table_rows(found.table)),
        *((key, value) for key, value in run.provenance.items() if key.partition("@")[0] not in ("warnings", "date", "target")),
    )
    return Table(title="Provenance", header=("", ""), rows=rows)


def _table_rows(table: LatencyTable) -> Iterator[tuple[str, str]]:
    """Device and software that a latency table was measured on."""
    target, facts = table.target, table.facts
    if facts is not None:
        yield "Device", f"{facts.board or facts.cpu_model}, {_times(facts.num_cores, 'core')}, {facts.machine}"
    yield (
        "Runtime",
        f"{target.runtime} {target.runtime_version}, {target.precision}, {_times(target.threads, 'thread')}, batch {target.batch_size}",
    )
    yield (
        "Latency table",
        (
            f"{len(table.blocks)} blocks and {len(table.networks)} networks in {table.num_sittings} sittings, "
            f"begun {table.provenance.created} with natdeploy {table.provenance.natdeploy_version}"
        ),
    )


def _times(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"
