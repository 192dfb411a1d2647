"""Profiling: measure networks and blocks of a space on a device until the predictor is good or the time is up, and keep a table.

Time goes mostly to whole networks: each says something about twenty blocks, in the place where they really run. On public
labels and on CPUs, 30 of them fit the predictor to 1–2 %; blocks measured alone help while networks are few, and
cross-validation decides whether they are used.

Every sitting measures the reference network too: its timings side by side are how well labels repeat, which no predictor beats.

Everything finished survives a kill: a sitting's rows lie in `<space>.sittings/`, the table is written after each sitting, and
the next call goes on from there.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

from nat_deploy.errors import InputError
from nat_deploy.predictors.latency import (
    MIN_NETWORKS,
    AdditivePredictor,
    BlockEntry,
    BlockIndex,
    LatencyTable,
    NetworkEntry,
    OverheadEntry,
    Provenance,
    Timing,
    fit_predictor,
    load_table,
    measured_index,
    save_table,
    table_observations,
    table_path,
)
from nat_deploy.profiling.choose import SITTING_SIZE, Sitting, choose_sitting
from nat_deploy.profiling.devices import Device, open_device
from nat_deploy.profiling.graphs import OVERHEAD_ID, block_id, network_id, write_sitting
from nat_deploy.profiling.measure import measure_models, read_target
from nat_deploy.spaces import SearchSpace, make_space
from profilers.measurement import Measurement
from profilers.settings import Settings
from profilers.transports.base import Transport

Limit = Literal["minutes", "networks", "mape"]
ProfilePreset = Literal["fast", "default", "precise"]

# Many networks measured roughly teach a regression more than few measured exactly: noise averages out, ignorance does not.
PROFILE_SETTINGS = Settings(half_width=0.03, cap_s=1.0, warm_up_ms=50.0, warm_up_cap_s=0.5)
_PRESETS: dict[ProfilePreset, Settings] = {
    "fast": replace(PROFILE_SETTINGS, half_width=0.06, cap_s=0.5),
    "default": PROFILE_SETTINGS,
    "precise": replace(PROFILE_SETTINGS, half_width=0.01, cap_s=4.0, warm_up_ms=200.0, warm_up_cap_s=2.0),
}
_MIN_SITTING = 4  # fewer graphs are not worth the start of a worker
_MIN_SCORED = 20  # from fewer networks, an error says nothing
_NETWORKS_CHOSEN = 240  # from so many on, networks are drawn: nothing is left to choose by, and fits begin to take time
_SELDOM = 5  # from then on, the predictor is fitted after so many sittings


def profile_settings(preset: ProfilePreset) -> Settings:
    """Numbers of the protocol for a profile: "fast" measures twice as roughly as "default", "precise" three times as exactly.

    Raises:
        InputError: There is no such preset.
    """
    if preset not in _PRESETS:
        raise InputError(f"the preset must be one of {', '.join(get_args(ProfilePreset))}, but it is '{preset}'; choose one")
    return _PRESETS[preset]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileProgress:
    """How far profiling is; one comes whenever a graph was measured, and one at the end.

    mape        mean error of the predictor on networks left out of its fit and in the state of their sitting, as a share; None
                while there are too few networks
    ended_by    which limit was reached; None while it goes on
    """

    share: float  # done, 0..1, of the limit that is nearest
    elapsed_s: float
    num_networks: int
    num_blocks: int
    mape: float | None = None
    ended_by: Limit | None = None


OnProgress = Callable[[ProfileProgress], None]


def profile(
    device: Device,
    space: SearchSpace,
    *,
    out_dir: Path,
    minutes: float | None = None,
    num_networks: int | None = None,
    until_mape: float | None = None,
    settings: Settings = PROFILE_SETTINGS,
    seed: int = 0,
    transport: Transport | None = None,
    on_progress: OnProgress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> LatencyTable:
    """Write or extend the latency table of a device and a space.

    The limit that is reached first ends it; one of the three must be given.

    Args:
        out_dir: Folder of tables; the file is `<target.key>/<space>.json` in it.
        minutes: Time of this call; a sitting that would not fit is made smaller or left out, but one is always measured.
        num_networks: Measuring stops when the table holds so many different networks.
        until_mape: Measuring stops when the predictor's mean error on networks left out of its fit is no larger, as a share.
        settings: Of the measuring protocol.
        transport: The way to the device, by default the one its description asks for.
        clock: Seconds; tests bring their own.

    Returns:
        The table as it was written.

    Raises:
        InputError: No limit is given, or one that is not positive.
        DeviceError: The device cannot measure here.
        FileFormatError: The table that is there cannot be read.
        MeasurementError: The device gave no usable measurement; what was finished is kept.
    """
    limits = _Limits(clock=clock, start_s=clock(), minutes=minutes, networks=num_networks, mape=until_mape)
    tell = on_progress or (lambda progress: None)
    transport = transport or open_device(device)
    facts, target = read_target(device, transport)
    path = table_path(out_dir, target, space.name)
    provenance = Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"), natdeploy_version=version("natdeploy"), seed=seed
    )
    table = LatencyTable(target=target, facts=facts, space=space.name, num_classes=space.num_classes, provenance=provenance)
    table = load_table(path) if path.exists() else table
    # A table keeps its number of classes: predictors carry it over to another one.
    index = BlockIndex(make_space(space.name, resolutions=space.resolutions, num_classes=table.num_classes))
    measured = measured_index(index.space, table)
    predictor = _fit(index, measured, table)
    while limits.reached(table, predictor) is None:
        number = table.num_sittings
        sitting = choose_sitting(
            index,
            table,
            predictor if table.num_networks < _NETWORKS_CHOSEN else None,
            seed=seed,
            num_networks=limits.num_networks_left(table),
        )
        progress = limits.progress(table, predictor)
        started_s = clock()

        def on_event(event: object, known: ProfileProgress = progress) -> None:
            if isinstance(event, dict) and event.get("event") == "measurement":
                tell(limits.later(known))

        with tempfile.TemporaryDirectory(prefix="natdeploy-") as folder:
            models = write_sitting(device, index.space, sitting, Path(folder), seed=seed + number)
            measurements = measure_models(
                device,
                models,
                results_path=path.parent / f"{space.name}.sittings" / f"{number:04d}.jsonl",
                reference=network_id(0),
                settings=settings,
                seed=seed + number,
                transport=transport,
                on_event=on_event,
            )
        table = _with_sitting(table, sitting, measurements)
        save_table(table, path)
        if not sitting.blocks:
            limits.graph_s = (clock() - started_s) / sitting.num_graphs
        if table.num_networks < _NETWORKS_CHOSEN or table.num_sittings % _SELDOM == 0:
            predictor = _fit(index, measured, table)
        tell(limits.progress(table, predictor))
    tell(replace(limits.progress(table, predictor), ended_by=limits.reached(table, predictor)))
    return table


def _fit(index: BlockIndex, measured: BlockIndex, table: LatencyTable) -> AdditivePredictor | None:
    """The predictor of a table for `index`; None where there are too few networks."""
    observations = table_observations(measured, table, "p25")
    if observations.num_networks < MIN_NETWORKS:
        return None
    return fit_predictor(measured, table.target, observations, into=index)


@dataclass(kw_only=True)
class _Limits:
    """When to stop."""

    clock: Callable[[], float]
    start_s: float
    minutes: float | None
    networks: int | None
    mape: float | None
    graph_s: float | None = None  # what a graph of the last sitting of networks took

    def __post_init__(self) -> None:
        limits = {"minutes": self.minutes, "networks": self.networks, "until_mape": self.mape}
        if all(limit is None for limit in limits.values()):
            raise InputError("profiling needs a limit, but neither minutes, nor networks, nor an error came; give one")
        for name, limit in limits.items():
            if limit is not None and not 0 < limit < float("inf"):
                raise InputError(f"{name} of profiling must be a positive number, but it is {limit}; give a positive one")

    def reached(self, table: LatencyTable, predictor: AdditivePredictor | None) -> Limit | None:
        """The limit that is reached, if one is."""
        mape = _scored_mape(predictor)
        if self.networks is not None and table.num_networks >= self.networks:
            return "networks"
        if self.mape is not None and mape is not None and mape <= self.mape:
            return "mape"
        if self._num_graphs_left() < _MIN_SITTING:
            return "minutes"
        return None

    def num_networks_left(self, table: LatencyTable) -> int:
        """How many new networks the next sitting may hold."""
        of_networks = SITTING_SIZE if self.networks is None else self.networks - table.num_networks
        return min(of_networks, self._num_graphs_left() - 1)

    def progress(self, table: LatencyTable, predictor: AdditivePredictor | None) -> ProfileProgress:
        mape = _scored_mape(predictor)
        shares = [0.0]
        if self.networks is not None:
            shares.append(table.num_networks / self.networks)
        if self.mape is not None and mape is not None:
            shares.append(self.mape / mape)
        known = ProfileProgress(
            share=min(1.0, max(shares)),
            elapsed_s=0.0,
            num_networks=table.num_networks,
            num_blocks=len(table.blocks),
            mape=mape,
        )
        return self.later(known)

    def later(self, known: ProfileProgress) -> ProfileProgress:
        """The same progress at the time it is now."""
        elapsed_s = self.clock() - self.start_s
        of_time = 0.0 if self.minutes is None else elapsed_s / (60 * self.minutes)
        return replace(known, share=min(1.0, max(known.share, of_time)), elapsed_s=elapsed_s)

    def _num_graphs_left(self) -> int:
        if self.minutes is None or self.graph_s is None:
            return SITTING_SIZE
        left_s = 60 * self.minutes - (self.clock() - self.start_s)
        return min(SITTING_SIZE, int(left_s / self.graph_s))


def _scored_mape(predictor: AdditivePredictor | None) -> float | None:
    return None if predictor is None or predictor.num_networks < _MIN_SCORED else predictor.loo_mape


def _with_sitting(table: LatencyTable, sitting: Sitting, measured: list[Measurement]) -> LatencyTable:
    number = table.num_sittings
    timings = {measurement.id: Timing.of(measurement) for measurement in measured}
    return table.extended(
        measured[0].target,
        networks=[
            NetworkEntry(architecture=arch, timing=timings[network_id(place)], sitting=number)
            for place, arch in enumerate(sitting.networks)
        ],
        blocks=[
            BlockEntry(block=block, timing=timings[block_id(place)], sitting=number) for place, block in enumerate(sitting.blocks)
        ],
        overheads=[OverheadEntry(timing=timings[OVERHEAD_ID], sitting=number)] if sitting.with_overhead else [],
        warnings=_new_warnings(table, measured),
    )


def _new_warnings(table: LatencyTable, measured: list[Measurement]) -> list[str]:
    """One warning of each kind is enough; it names the first graph that had it."""
    known = {warning.partition(":")[0] for warning in table.warnings}
    first = {warning.kind: f"{warning.kind}: {warning.message}" for m in reversed(measured) for warning in m.warnings}
    return [text for kind, text in sorted(first.items()) if kind not in known]
