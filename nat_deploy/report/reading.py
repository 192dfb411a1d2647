"""A run folder as a report shows it, finished or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from nat_deploy.errors import ArchitectureError, FileFormatError, MissingError
from nat_deploy.report.latencies import GeneString, Latencies, measured_cost, predicted_cost, read_latencies
from nat_deploy.report.network import Cost, Network
from nat_deploy.report.run_files import (
    RunFile,
    TestAccuracy,
    read_files,
    read_request,
    read_subnet,
    read_test_accuracies,
    request_texts,
    search_command,
)
from nat_deploy.report.run_space import read_space
from nat_deploy.report.wording import accuracy_names, name_of
from nat_deploy.search import (
    EvaluationRecord,
    FinalistRecord,
    IterationRecord,
    RefittableSource,
    ResultRecord,
    RunFolder,
    SearchSettings,
    non_dominated,
)
from nat_deploy.search.objective import COUNTED
from nat_deploy.spaces import SearchSpace
from nat_deploy.spaces.subnet_file import ObjectiveValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Iteration:
    """A finished iteration and its archive, with the errors that its own weights gave."""

    record: IterationRecord
    archive: tuple[Network, ...]
    best: Network | None  # most accurate, on the mean of several data sets, that is known to keep the budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReading:
    """What is known of a run.

    started      when run.json was written
    space        None where the run does not say it; networks then have no architecture, MACs and parameters
    archive      the newest archive; before the first is complete, what has been evaluated of it
    front        the run's own where it is finished, else the non-dominated part of `archive`
    finalists    most accurate first; empty while the run is not finished
    tests        of the chosen network, one per data set that has a test part
    subnet_objectives   what `subnet.json` says of the chosen network; empty for several data sets, where each has one
    request      what a person asked for, as names and texts
    command      that makes the run again, None where the run did not write down what was asked for
    """

    path: Path
    settings: SearchSettings
    provenance: Mapping[str, str]
    started: datetime
    space: SearchSpace | None
    iterations: tuple[Iteration, ...]
    archive: tuple[Network, ...]
    front: tuple[Network, ...]
    finalists: tuple[Network, ...]
    latencies: tuple[Latencies, ...]
    files: tuple[RunFile, ...]
    tests: tuple[TestAccuracy, ...]
    request: tuple[tuple[str, str], ...]
    command: str | None
    subnet_objectives: tuple[ObjectiveValue, ...]

    @property
    def chosen(self) -> Network | None:
        """The answer: the most accurate finalist."""
        return self.finalists[0] if self.finalists else None

    @property
    def accuracy_names(self) -> tuple[str, ...]:
        """What each of `Network.accuracies_percent` is, for people."""
        return accuracy_names(self.settings.errors)

    @property
    def cost_names(self) -> tuple[str, ...]:
        """Costs that the networks can be drawn over: those of the search first, then MACs and parameters."""
        names = (*_costs(self.settings), *(budget.objective for budget in self.settings.budgets), "macs", "num_params")
        return tuple(
            name for name in dict.fromkeys(names) if any(network.cost(name) for network in (*self.archive, *self.finalists))
        )

    def notes(self) -> tuple[str, ...]:
        """What a reader must know: how far the run came, what is missing, what was corrected, what was warned of."""
        return (*self._progress(), *(note for latencies in self.latencies for note in latencies.notes), *self._warnings())

    def _progress(self) -> list[str]:
        settings = self.settings
        if self.finalists:
            wanted = settings.finalists
            few = f"The search was asked for {wanted} networks and found {len(self.finalists)} that keep the budgets."
            return ([few] if len(self.finalists) < wanted else []) + self._unmeasured(self.finalists[0])
        if not self.iterations:
            done = f"{len(self.archive)} of the first {settings.initial_size} networks are evaluated"
        else:
            done = f"{len(self.iterations) - 1} of {settings.iterations} iterations are finished"
        return [f"The search has not ended: {done}, and no network is chosen yet. Continue it with --resume."]

    def _unmeasured(self, chosen: Network) -> list[str]:
        names = [cost.name for cost in chosen.costs if cost.source == "predicted"]
        return [
            f"{name_of(name)} was not measured: the upper ends of predicted intervals were held against budgets."
            for name in names
        ]

    def _warnings(self) -> list[str]:
        unknown = (
            []
            if self.space is not None
            else ["The run does not say its search space, so networks are shown without their layers."]
        )
        return unknown + [line for line in self.provenance.get("warnings", "").splitlines() if line.strip()]


def read_run(run: Path, *, latency_predictors: Mapping[str, RefittableSource] | None = None) -> RunReading:
    """Read a run folder.

    Args:
        run: The folder; its search may be finished, stopped or still going on.
        latency_predictors: Predictors of the latency objectives as they were before the search, by name; by default they are fitted on
            the latency table of the run's target, where one is found.

    Raises:
        MissingError: There is no run.
        FileFormatError: A file of the run is broken.
    """
    if not (run / "run.json").is_file():
        raise MissingError(f"'{run}' must be the folder of a search, with a run.json, but it is not; give such a folder")
    folder = RunFolder.read(run)
    try:
        return _read(folder, latency_predictors)
    except ArchitectureError as error:
        raise FileFormatError(
            f"networks of run '{run}' must lie in its search space, but one does not ({error}); restore its files"
        ) from error


def _read(folder: RunFolder, predictors: Mapping[str, RefittableSource] | None) -> RunReading:
    subnet, request = read_subnet(folder.path), read_request(folder.path)
    space = read_space(folder.provenance, num_classes=None if subnet is None else subnet.num_classes)
    latencies = read_latencies(folder, space, predictors)
    # Newest first: a run that is going on has written down what these name before it named it.
    result, records, evaluations = folder.read_result(), folder.read_iterations(), folder.evaluations.read()
    strings = [*(record.genes for record in evaluations), *(genes for record in records for genes in record.genes)]
    strings += [] if result is None else [*result.front, *(finalist.genes for finalist in result.finalists)]
    describe = _Describer.make(space, latencies, tuple(dict.fromkeys(strings)), evaluations)
    iterations = tuple(_iteration(folder, describe, record) for record in records)
    newest = max((record.supernet_version for record in evaluations), default=0)
    archive = (
        iterations[-1].archive
        if iterations
        else tuple(describe.network(r.genes, newest) for r in evaluations if r.supernet_version == newest)
    )
    return RunReading(
        path=folder.path,
        settings=folder.settings,
        provenance=folder.provenance,
        started=datetime.fromtimestamp((folder.path / "run.json").stat().st_mtime, UTC),
        space=space,
        iterations=iterations,
        archive=archive,
        front=_front(folder, archive) if result is None else _recorded_front(describe, result),
        finalists=() if result is None else tuple(describe.finalist(f, result.supernet_version) for f in result.finalists),
        latencies=latencies,
        files=read_files(folder.path),
        tests=read_test_accuracies(folder.path),
        request=request_texts(request),
        command=folder.provenance.get("command", search_command(request)),
        subnet_objectives=() if subnet is None else subnet.objectives,
    )


def _costs(settings: SearchSettings) -> tuple[str, ...]:
    return settings.objectives[len(settings.errors) :]


def _iteration(folder: RunFolder, describe: "_Describer", record: IterationRecord) -> Iteration:
    archive = tuple(describe.network(genes, record.supernet_version) for genes in record.genes)
    within = [network for network in archive if network.meets(folder.settings.budgets)]
    best = min(within, key=lambda network: network.error_percent, default=None)
    return Iteration(record=record, archive=archive, best=best)


def _recorded_front(describe: "_Describer", result: ResultRecord) -> tuple[Network, ...]:
    return tuple(describe.network(genes, result.supernet_version) for genes in result.front)


def _front(folder: RunFolder, archive: tuple[Network, ...]) -> tuple[Network, ...]:
    """The non-dominated part, over the objectives that are known of every network."""
    allowed = [network for network in archive if network.meets(folder.settings.budgets) is not False]
    columns = [[cost.value for n in allowed if (cost := n.cost(name)) is not None] for name in _costs(folder.settings)]
    known = [column for column in columns if len(column) == len(allowed)]
    if not allowed:
        return ()
    values = np.array([*zip(*(network.errors_percent for network in allowed), strict=True), *known]).T
    return tuple(network for network, on_front in zip(allowed, non_dominated(values), strict=True) if on_front)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Describer:
    """Makes networks from gene strings."""

    space: SearchSpace | None
    costs: Mapping[GeneString, tuple[Cost, ...]]
    errors_percent: Mapping[tuple[GeneString, int], tuple[float, ...]]

    @staticmethod
    def make(
        space: SearchSpace | None,
        latencies: Sequence[Latencies],
        strings: tuple[GeneString, ...],
        evaluations: Sequence[EvaluationRecord],
    ) -> "_Describer":
        columns = _counted(space, strings) + [found.of(strings) for found in latencies]
        return _Describer(
            space=space,
            costs={string: tuple(column[string] for column in columns if string in column) for string in strings},
            errors_percent={(record.genes, record.supernet_version): record.errors_percent for record in evaluations},
        )

    def network(self, genes: GeneString, version: int) -> Network:
        if (genes, version) not in self.errors_percent:
            raise FileFormatError(
                f"archive.jsonl of the run must hold every network that its iterations name, but {list(genes)} "
                f"of supernet version {version} is not there; restore the file"
            )
        return self._network(genes, self.errors_percent[genes, version], version, self.costs[genes])

    def finalist(self, record: FinalistRecord, version: int) -> Network:
        latencies = (*map(measured_cost, record.latencies), *map(predicted_cost, record.predicted))
        names = {cost.name for cost in latencies}
        others = tuple(cost for cost in self.costs[record.genes] if cost.name not in names)
        return self._network(record.genes, record.errors_percent, version, (*latencies, *others))

    def _network(self, genes: GeneString, errors_percent: tuple[float, ...], version: int, costs: tuple[Cost, ...]) -> Network:
        architecture = None if self.space is None else self.space.decode(np.array(genes, dtype=np.int64))
        return Network(
            genes=genes, architecture=architecture, errors_percent=errors_percent, supernet_version=version, costs=costs
        )


def _counted(space: SearchSpace | None, strings: tuple[GeneString, ...]) -> list[dict[GeneString, Cost]]:
    if space is None or not strings:
        return []
    try:
        counts = space.count(np.array(strings, dtype=np.int64))
    except ValueError as error:
        raise ArchitectureError(f"gene strings must all have {len(space.gene_lower)} genes: {error}") from error
    return [
        {
            string: Cost(name=name, value=float(value), low=float(value), high=float(value), source="counted")
            for string, value in zip(strings, getattr(counts, name), strict=True)
        }
        for name in COUNTED
    ]
