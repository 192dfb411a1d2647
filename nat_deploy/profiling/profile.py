"""Profiling: measure networks and blocks of a space on a device until the time is up, and keep a table of them.

Time goes mostly to whole networks: each says something about twenty blocks, in the place where they really run. On public
labels and on CPUs, 30 of them fit the predictor to 1–2 %; blocks measured alone help where the runtime does not fuse across
them, and cross-validation decides whether they are used.

Everything finished survives a kill: a sitting's rows lie in `<space>.sittings/`, the table is written after each sitting, and
the next call goes on from there.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from nat_deploy.errors import InputError
from nat_deploy.predictors.latency import (
    BlockEntry,
    BlockIndex,
    LatencyTable,
    NetworkEntry,
    OverheadEntry,
    Provenance,
    Timing,
    load_table,
    save_table,
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

# Many networks measured roughly teach a regression more than few measured exactly: noise averages out, ignorance does not.
PROFILE_SETTINGS = Settings(half_width=0.03, cap_s=1.0, warm_up_ms=50.0, warm_up_cap_s=0.5)
EVERY_NTH_BLOCKS = 4
_MIN_SITTING = 4  # fewer graphs are not worth the start of a worker


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileProgress:
    """How far profiling is; one comes whenever a graph was measured."""

    share: float  # done, 0..1, of the time or of the networks asked for
    elapsed_s: float
    num_networks: int
    num_blocks: int


OnProgress = Callable[[ProfileProgress], None]


def profile(
    device: Device,
    space: SearchSpace,
    *,
    out_dir: Path,
    minutes: float | None = None,
    num_networks: int | None = None,
    every_nth_blocks: int = EVERY_NTH_BLOCKS,
    settings: Settings = PROFILE_SETTINGS,
    seed: int = 0,
    transport: Transport | None = None,
    on_progress: OnProgress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> LatencyTable:
    """Write or extend the latency table of a device and a space.

    Args:
        out_dir: Folder of tables; the file is `<target.key>/<space>.json` in it.
        minutes: Time of this call; a sitting that would not fit is made smaller or left out, but one is always measured.
        num_networks: Measuring stops when the table holds so many networks. One of the two limits must be given.
        every_nth_blocks: 4 gives every fourth sitting to single blocks; 0 none.
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
    limits = _Limits(clock=clock, start_s=clock(), seconds=None if minutes is None else 60 * minutes, num_networks=num_networks)
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
    while not limits.are_reached(table):
        sitting = choose_sitting(
            index, table, seed=seed, every_nth_blocks=every_nth_blocks, num_networks=limits.num_networks_left(table)
        )
        number = table.num_sittings
        started_s = clock()

        def count(event: object, table: LatencyTable = table, sitting: Sitting = sitting) -> None:
            if on_progress is not None and isinstance(event, dict) and event.get("event") == "measurement":
                on_progress(limits.progress(table))

        with tempfile.TemporaryDirectory(prefix="natdeploy-") as folder:
            models = write_sitting(device, index.space, sitting, Path(folder), seed=seed + number)
            measured = measure_models(
                device,
                models,
                results_path=path.parent / f"{space.name}.sittings" / f"{number:04d}.jsonl",
                settings=settings,
                seed=seed + number,
                transport=transport,
                on_event=count,
            )
        table = _with_sitting(table, sitting, measured)
        save_table(table, path)
        limits.graph_s = (clock() - started_s) / sitting.num_graphs
        if on_progress is not None:
            on_progress(limits.progress(table))
    return table


@dataclass(kw_only=True)
class _Limits:
    """When to stop."""

    clock: Callable[[], float]
    start_s: float
    seconds: float | None
    num_networks: int | None
    graph_s: float | None = None  # what a graph of the sitting before took

    def __post_init__(self) -> None:
        if self.seconds is None and self.num_networks is None:
            raise InputError("profiling needs a limit, but neither minutes nor a number of networks came; give one")
        for name, limit in (("minutes", self.seconds), ("num_networks", self.num_networks)):
            if limit is not None and not 0 < limit < float("inf"):
                raise InputError(f"{name} of profiling must be a positive number, but it is {limit}; give a positive one")

    def are_reached(self, table: LatencyTable) -> bool:
        return self.num_networks_left(table) < (1 if self.seconds is None else _MIN_SITTING)

    def num_networks_left(self, table: LatencyTable) -> int:
        """How many networks the next sitting may hold."""
        left = SITTING_SIZE if self.num_networks is None else min(SITTING_SIZE, self.num_networks - len(table.networks))
        if self.seconds is None or self.graph_s is None:
            return left
        return min(left, int((self.seconds - self._elapsed()) / self.graph_s))

    def progress(self, table: LatencyTable) -> ProfileProgress:
        shares = [0.0]
        if self.seconds is not None:
            shares.append(self._elapsed() / self.seconds)
        if self.num_networks is not None:
            shares.append(len(table.networks) / self.num_networks)
        return ProfileProgress(
            share=min(1.0, max(shares)), elapsed_s=self._elapsed(), num_networks=len(table.networks), num_blocks=len(table.blocks)
        )

    def _elapsed(self) -> float:
        return self.clock() - self.start_s


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
