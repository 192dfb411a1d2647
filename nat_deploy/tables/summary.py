"""What a latency table holds and what it is worth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nat_deploy.errors import InputError, MissingError
from nat_deploy.predictors.latency import (
    BlockEntry,
    Card,
    LatencyTable,
    NetworkEntry,
    OverheadEntry,
    load_table,
    make_card,
    predictor_from_table,
)
from nat_deploy.profiling.devices import find_device
from nat_deploy.profiling.tables import find_tables, load_table_of_its_folder
from nat_deploy.spaces import Block, SearchSpace, make_space

ENOUGH_NETWORKS = 30  # with so many, predictions on a CPU are within 1-2 %
_GOOD_WITHIN_10, _MOST_UNCONVERGED = 0.95, 0.1
_NUM_DEAREST, _NUM_SAMPLED = 8, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DearBlock:
    """A block and what it took alone, in ms of one batch."""

    block: Block
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedRange:
    """Latencies in ms of the smallest and the largest network at the measured resolutions, with their 95 % intervals."""

    smallest_ms: tuple[float, float, float]  # low, value, high
    largest_ms: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSummary:
    """A table, judged.

    card            None where there is too little to judge it by; `doubts` then says so
    num_unconverged entries whose interval stayed wider than was asked; single figures do not count, since nobody can tell
    doubts          sentences: why predictions from this table may be worse than they could be
    """

    table: LatencyTable
    card: Card | None
    predicted: PredictedRange | None
    dearest: tuple[DearBlock, ...]
    num_single: int
    num_unconverged: int
    doubts: tuple[str, ...]


def open_table(name: str, *, space: str | None = None) -> tuple[Path, LatencyTable]:
    """The table in a file, or the one of a device.

    Args:
        name: A path, or the name of a device.
        space: Which of a device's tables, if there are several.

    Raises:
        DeviceError: There is neither such a file nor such a device.
        MissingError: The device has no table.
        InputError: It has several.
    """
    path = Path(name)
    if path.is_file() or path.suffix == ".json":
        return path, load_table(path)
    found = find_tables(find_device(name))
    if space is not None:
        found = {known: place for known, place in found.items() if known == space}
    if not found:
        raise MissingError(
            f"device '{name}' must have a latency table{f' of {space}' if space else ''}, but there is none; "
            "make one with natdeploy profile or natdeploy table import"
        )
    if len(found) > 1:
        raise InputError(f"device '{name}' has tables of {', '.join(sorted(found))}; choose one with --space")
    (path,) = found.values()
    return path, load_table_of_its_folder(path)


def summarise(table: LatencyTable) -> TableSummary:
    """Judge a table by itself: cross-validation, counts, warnings."""
    entries: tuple[BlockEntry | NetworkEntry | OverheadEntry, ...] = (*table.networks, *table.blocks, *table.overheads)
    timings = [entry.timing for entry in entries]
    num_single = sum(timing.single for timing in timings)
    num_unconverged = sum(not timing.converged and not timing.single for timing in timings)
    space = measured_space(table)
    doubts = _doubts(table, num_unconverged, len(timings) - num_single)
    try:
        card, predicted = make_card(space, table), _predicted_range(space, table)
    except InputError as error:
        card, predicted = None, None
        doubts.insert(0, str(error))
    if card is not None and card.scores.within_10 < _GOOD_WITHIN_10:
        doubts.append(
            f"{100 * card.scores.within_10:.0f} % of what was left out is predicted within 10 %; {100 * _GOOD_WITHIN_10:.0f} % would be good"
        )
    return TableSummary(
        table=table,
        card=card,
        predicted=predicted,
        dearest=_dearest(table),
        num_single=num_single,
        num_unconverged=num_unconverged,
        doubts=tuple(doubts),
    )


def measured_space(table: LatencyTable) -> SearchSpace:
    """The space of a table at the resolutions that were measured: those of its networks, and of its first convolutions."""
    of_networks = {entry.architecture.resolution for entry in table.networks}
    of_stems = {entry.block.in_size for entry in table.blocks if entry.block.kind == "conv" and entry.block.in_channels == 3}
    return make_space(table.space, resolutions=tuple(sorted(of_networks | of_stems)) or None, num_classes=table.num_classes)


def _doubts(table: LatencyTable, num_unconverged: int, num_judged: int) -> list[str]:
    doubts = []
    if len(table.networks) < ENOUGH_NETWORKS:
        doubts.append(f"whole networks measured: {len(table.networks)}; {ENOUGH_NETWORKS} make a good table")
    if num_unconverged > _MOST_UNCONVERGED * num_judged:
        doubts.append(
            f"{num_unconverged} of {num_judged} entries did not become as exact as was asked; measure on a quieter device"
        )
    return doubts


def _predicted_range(space: SearchSpace, table: LatencyTable) -> PredictedRange:
    genes = np.stack([space.encode(space.smallest()), space.encode(space.largest())])
    found = predictor_from_table(space, table).predict(genes)
    low, high = [(float(found.low[row]), float(found.value[row]), float(found.high[row])) for row in range(2)]
    return PredictedRange(smallest_ms=low, largest_ms=high)


def _dearest(table: LatencyTable) -> tuple[DearBlock, ...]:
    dearest: dict[Block, float] = {}
    for entry in table.blocks:
        dearest[entry.block] = max(entry.timing.p25_ms, dearest.get(entry.block, 0.0))
    ranked = sorted(dearest.items(), key=lambda pair: -pair[1])[:_NUM_DEAREST]
    return tuple(DearBlock(block=block, ms=ms) for block, ms in ranked)
