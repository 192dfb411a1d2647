"""Search: from a request to networks that were measured within their budget, with their weights."""

import hashlib
import platform
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from nat_deploy.errors import InputError
from nat_deploy.files import lock_folder, remove_temporaries
from nat_deploy.profiling import Device, ProfileProgress, find_device
from nat_deploy.report import space_provenance
from nat_deploy.search import (
    COUNTED,
    LATENCY,
    Budget,
    FinalistRecord,
    RunFolder,
    SearchEvent,
    SearchResult,
    SearchSettings,
    assign_budgets,
    full_name,
    latency_objective,
    parse_budget,
    parse_latency_budget,
    parse_preference,
    run_search,
)
from nat_deploy.spaces import Architecture, SearchSpace
from nat_deploy.supernets import load_supernet
from nat_deploy.training.adapt import AdaptationSettings
from nat_deploy.training.evaluate import Accuracy
from nat_deploy.training.evaluator import EvaluatorSettings
from nat_deploy.training.step import StepSettings
from nat_deploy.training.training_device import TrainingDevice, find_training_device
from nat_deploy.walk.data_sets import load_data_sets, make_supernets, name_data_sets, shared_space
from nat_deploy.walk.effort import EFFORTS, Effort
from nat_deploy.walk.found import FoundNetwork, decode, write_found
from nat_deploy.walk.latency import LatencyModel, get_latency_model
from nat_deploy.walk.measurer import DeviceMeasurer
from nat_deploy.walk.request import SearchRequest, save_request
from nat_deploy.walk.shipped import shipped_supernet
from nat_deploy.walk.workers import check_workers, working_evaluator
from profilers import Settings

_SOFTWARE = "software"  # key of the provenance


class SearchListener(Protocol):
    """What wants to know how far a search is; every number counts up to its total. From `on_begin` on, `run` can be resumed."""

    def on_begin(self, run: Path) -> None: ...

    def on_decode(self, done: int, total: int) -> None: ...

    def on_profile(self, progress: ProfileProgress) -> None: ...

    def on_train(self, done: int, total: int) -> None: ...

    def on_search(self, event: SearchEvent) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAnswer:
    """What a search wrote.

    networks        the chosen network on each data set, in their order: `subnet.json` with weights, accuracy
    chosen          its record: validation errors, measured latencies, and predicted ones where a device cannot measure
    latency         table and predictor that the search began with, by the name of the latency objective
    """

    run: Path
    space: SearchSpace
    networks: tuple[FoundNetwork, ...]
    chosen: FinalistRecord
    architecture: Architecture
    result: SearchResult
    budgets: tuple[Budget, ...]
    latency: Mapping[str, LatencyModel]

    @property
    def subnet_file(self) -> Path:
        """That of the first data set."""
        return self.networks[0].subnet_file

    @property
    def test(self) -> Accuracy | None:
        """That of the first data set."""
        return self.networks[0].test


class SilentListener:
    """Hears everything and says nothing; a base for listeners that tell of a part."""

    def on_begin(self, run: Path) -> None: ...

    def on_decode(self, done: int, total: int) -> None: ...

    def on_profile(self, progress: ProfileProgress) -> None: ...

    def on_train(self, done: int, total: int) -> None: ...

    def on_search(self, event: SearchEvent) -> None: ...


def search_network(
    request: SearchRequest, run: Path, listener: SearchListener | None = None, *, resume: bool = False
) -> SearchAnswer:
    """Search as `request` asks, in the folder `run`.

    Args:
        request: What to search.
        run: A new or empty folder, or with `resume` one that an earlier call with the same request began.
        listener: Told how far the search is; by default nobody is.

    Raises:
        BudgetError: No architecture meets the budget; the sentence gives the smallest reachable latency.
        NatDeployError: Anything else that a user can mend, as a sentence.
    """
    check_workers(request)
    if not resume:
        _check_new(run)
    with ExitStack() as held:
        return _search_network(request, run, listener or SilentListener(), held)


def _search_network(request: SearchRequest, run: Path, listener: SearchListener, held: ExitStack) -> SearchAnswer:
    """`held` takes what must be let go when the search ends: the folder and the workers."""
    effort, training_device = _effort(request), find_training_device(request.train_on)
    errors, devices, counted = name_data_sets(request.data), _devices(request), _counted(request)
    asked = (*map(parse_latency_budget, request.latency_budgets), *map(parse_budget, request.budgets))
    budgets = assign_budgets(asked, request.devices)
    supernet_file = Path(request.supernet) if request.supernet else shipped_supernet()
    pretrained, info = load_supernet(supernet_file)
    resolutions = request.resolutions or info.resolutions
    objectives = (*errors, *devices, *counted)
    settings = SearchSettings(
        objectives=objectives,
        budgets=budgets,
        weights=parse_preference(request.prefer, objectives),
        seed=request.seed,
        initial_size=effort.initial_size,
        archive_size=effort.archive_size,
        iterations=effort.iterations,
        new_per_iteration=effort.new_per_iteration,
        population_size=effort.population_size,
        generations=effort.generations,
        finalists=request.finalists,
    )
    data_sets = load_data_sets(request, resolutions, listener.on_decode)
    supernets = make_supernets(
        pretrained,
        data_sets,
        resolutions,
        request.seed,
        _evaluator_settings(effort, training_device),
        listener.on_train,
        training_device,
    )
    space = shared_space(supernets)
    run.mkdir(parents=True, exist_ok=True)
    held.enter_context(lock_folder(run))
    remove_temporaries(run)
    save_request(run, request)
    listener.on_begin(run)
    latency = {
        name: get_latency_model(
            device, space, run=run, profile_minutes=request.profile_minutes, seed=request.seed, on_profile=listener.on_profile
        )
        for name, device in devices.items()
    }
    provenance = {
        **space_provenance(space),
        "data": "; ".join(
            f"{data.name}: {len(data.train)} training and {len(data.val)} validation images" for data in data_sets.values()
        ),
        "device": ", ".join(request.devices),
        **{f"target{name.removeprefix(LATENCY)}": model.table.target.key for name, model in latency.items()},
        "supernet": f"{supernet_file.name} (trained on {info.trained_on}), sha256 {_sha256(supernet_file)}",
        "adaptation": f"{effort.first_epochs:g} epochs first, {effort.further_epochs:g} in each iteration",
        _SOFTWARE: f"natdeploy {version('natdeploy')}, torch {version('torch')}, python {platform.python_version()}",
    }
    folder = _open_search(run, settings, provenance)
    measurers = {
        name: DeviceMeasurer(
            device=device,
            space=space,
            target=latency[name].table.target,
            folder=run / "measured" / device.name,
            exact=Settings(half_width=effort.measured_half_width, cap_s=effort.measured_cap_s),
        )
        for name, device in devices.items()
        if device.transport != "table"
    }
    sources = {name: model.predictor for name, model in latency.items()}
    working = held.enter_context(working_evaluator(supernets, request, run / "workers"))
    result = run_search(space, working, sources, measurers, folder, listener.on_search)
    return SearchAnswer(
        run=run,
        space=space,
        networks=write_found(run, space, result, supernets),
        chosen=result.chosen,
        architecture=decode(space, result.chosen),
        result=result,
        budgets=budgets,
        latency=latency,
    )


def _devices(request: SearchRequest) -> dict[str, Device]:
    """The devices by the names of their latency objectives."""
    if not request.devices or len(set(request.devices)) < len(request.devices):
        raise InputError(
            f"a search needs one device or several different ones, but it has {', '.join(request.devices) or 'none'}; name each once"
        )
    return {
        latency_objective(name, request.devices): find_device(name, allow_power_mode=request.allow_power_mode)
        for name in request.devices
    }


def _counted(request: SearchRequest) -> tuple[str, ...]:
    """The counted costs among the objectives, by their full names."""
    names = tuple(map(full_name, request.objectives))
    for asked, name in zip(request.objectives, names, strict=True):
        if name not in COUNTED or names.count(name) > 1:
            raise InputError(
                "objectives beside the errors and the latency of each device must be macs, params or memory, each at most once, "
                f"but one is '{asked}'; remove it"
            )
    return names


def _effort(request: SearchRequest) -> Effort:
    if request.effort not in EFFORTS:
        raise InputError(f"effort must be one of {', '.join(EFFORTS)}, but it is '{request.effort}'; choose one of these")
    preset = asdict(EFFORTS[request.effort])
    asked = {name: getattr(request, name) for name in ("iterations", "first_epochs", "further_epochs")}
    return Effort(**{**preset, **{name: value for name, value in asked.items() if value is not None}})


def _evaluator_settings(effort: Effort, device: TrainingDevice) -> EvaluatorSettings:
    step = StepSettings(autocast=device.autocast)
    return EvaluatorSettings(
        first=AdaptationSettings(epochs=effort.first_epochs, learning_rate=2e-3, step=step),
        further=AdaptationSettings(epochs=effort.further_epochs, learning_rate=1e-3, step=step),
    )


def _check_new(run: Path) -> None:
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise InputError(f"run folder '{run}' must be new or empty, but it is not; give another --out, or --resume {run}")


def _open_search(path: Path, settings: SearchSettings, provenance: dict[str, str]) -> RunFolder:
    if (path / "run.json").exists():
        known = RunFolder.read(path).provenance
        if _SOFTWARE in known:  # of the beginning; a newer version may go on
            provenance[_SOFTWARE] = known[_SOFTWARE]
        return RunFolder.resume(path, settings, provenance)
    return RunFolder.create(path, settings, provenance)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
