"""Results of a kit, read back into a table: what `python3 -m profilers` wrote, or a form `id,ms` that was filled in by hand."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from nat_deploy.errors import FileFormatError, InputError, MissingError
from nat_deploy.predictors.latency import BlockEntry, LatencyTable, NetworkEntry, OverheadEntry, Provenance, Timing
from nat_deploy.spaces import Architecture, Block
from nat_deploy.tables.kit_manifest import Kit, KitGraph
from nat_deploy.tables.plausible import check_plausible
from nat_deploy.tables.whole_text import read_whole_text
from profilers.errors import JobError, ModelFileError
from profilers.measurement import Measurement
from profilers.results import read_results
from profilers.runtimes.base import file_sha256
from profilers.target import Target

_HEADER = ["id", "ms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KitResults:
    """A table of what came back, and why some of it did not.

    failures    sentences about graphs that the device could not run
    num_missing graphs without a result
    """

    table: LatencyTable
    failures: tuple[str, ...]
    num_missing: int


def check_kit_files(kit: Kit, folder: Path) -> None:
    """Refuse a kit whose ONNX files are not those that its manifest describes; files that are not there any more are passed over.

    Raises:
        FileFormatError: A file is another one.
    """
    for graph in kit.graphs:
        path = folder / graph.file
        if path.exists() and _sha256(path) != graph.sha256:
            raise FileFormatError(
                f"file '{path}' must be the one of the manifest, but its SHA-256 differs, so its latency would be that of another graph; "
                "write a new kit and measure it"
            )


def read_profiled_results(kit: Kit, path: Path) -> KitResults:
    """Read the results file that `python3 -m profilers measure` wrote.

    Raises:
        MissingError: There is no such file.
        FileFormatError: It is broken, or holds what is not in the kit.
        InputError: Its rows are of several targets.
    """
    if not path.is_file():
        raise MissingError(f"results '{path}' must exist, but there are none; copy them from the device")
    try:
        results = read_results(path)
    except JobError as error:
        raise FileFormatError(str(error)) from error
    rows = results.measurements
    graphs = _graphs_of(kit, [row.id for row in rows], path)
    for row, graph in zip(rows, graphs, strict=True):
        if row.model_sha256 != graph.sha256:
            raise FileFormatError(
                f"'{row.id}' in '{path}' must be the file of the kit, but its SHA-256 is {row.model_sha256[:12]}... instead of "
                f"{graph.sha256[:12]}...; give the kit that was measured"
            )
        if row.target != rows[0].target:
            raise InputError(
                f"results must be of one target, but '{path}' holds '{rows[0].target.key}' and '{row.target.key}'; import them apart"
            )
        if row.target.batch_size != kit.batch_size:
            raise InputError(
                f"results must be of batch size {kit.batch_size}, for which the kit was made, but they are of {row.target.batch_size}; "
                "measure with the job of the kit"
            )
    sittings = _sittings(rows)
    timings = {row.id: Timing.of(row) for row in rows}
    warnings = {warning.kind: f"{warning.kind}: {warning.message}" for row in reversed(rows) for warning in row.warnings}
    table = _table(kit, rows[0].target, graphs, timings, sittings, [warnings[kind] for kind in sorted(warnings)])
    return KitResults(
        table=replace(table, facts=rows[0].facts),
        failures=tuple(failure.message for failure in results.failures if failure.id not in timings),
        num_missing=len(kit.graphs) - len(graphs),
    )


def read_written_results(kit: Kit, path: Path, target: Target) -> KitResults:
    """Read a form of ids and milliseconds; lines without a number count as not measured.

    Args:
        target: Where they were measured.

    Raises:
        MissingError: There is no such file.
        FileFormatError: It is no such form, was cut, or holds what is not in the kit.
        InputError: A number cannot be in ms.
    """
    if target.batch_size != kit.batch_size:
        raise InputError(
            f"results must be of batch size {kit.batch_size}, for which the kit was made, but {target.batch_size} came"
        )
    written = _read_csv(path)
    graphs = _graphs_of(kit, [id for id, _ in written], path)
    for (id, ms), graph in zip(written, graphs, strict=True):
        check_plausible(f"'{id}'", ms, kit.blocks(graph), batch_size=kit.batch_size)
    warning = "single_figures: one figure for each graph, written by hand; how much it would vary is not known"
    timings = {id: Timing.of_figure(ms) for id, ms in written}
    return KitResults(
        table=_table(kit, target, graphs, timings, dict.fromkeys(timings, 0), [warning]),
        failures=(),
        num_missing=len(kit.graphs) - len(graphs),
    )


def _table(
    kit: Kit,
    target: Target,
    graphs: Sequence[KitGraph],
    timings: Mapping[str, Timing],
    sittings: Mapping[str, int],
    warnings: Sequence[str],
) -> LatencyTable:
    networks, blocks, overheads = [], [], []
    for graph in graphs:
        timing, sitting = timings[graph.id], sittings[graph.id]
        match graph.subject:
            case Architecture() as architecture:
                networks.append(NetworkEntry(architecture=architecture, timing=timing, sitting=sitting))
            case Block() as block:
                blocks.append(BlockEntry(block=block, timing=timing, sitting=sitting))
            case None:
                overheads.append(OverheadEntry(timing=timing, sitting=sitting))
    return LatencyTable(
        target=target,
        facts=None,
        space=kit.space,
        num_classes=kit.num_classes,
        provenance=Provenance(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            natdeploy_version=version("natdeploy"),
            seed=kit.seed,
            source="kit",
        ),
        networks=tuple(networks),
        blocks=tuple(blocks),
        overheads=tuple(overheads),
        warnings=tuple(warnings),
    )


def _graphs_of(kit: Kit, ids: Sequence[str], path: Path) -> list[KitGraph]:
    """The graphs of the results, in their order; each id once, and from the kit."""
    graphs = {graph.id: graph for graph in kit.graphs}
    if not ids:
        raise FileFormatError(f"results '{path}' must hold at least one latency, but there is none; measure first")
    seen: set[str] = set()
    for id in ids:
        if id not in graphs:
            raise FileFormatError(
                f"results '{path}' must be of graphs in the kit, but '{id[:64]}' is not; give the kit that was measured"
            )
        if id in seen:
            raise FileFormatError(f"results '{path}' must hold each graph once, but '{id}' comes twice; remove one of the lines")
        seen.add(id)
    return [graphs[id] for id in ids]


def _sittings(rows: Sequence[Measurement]) -> dict[str, int]:
    """The sitting of each row: graphs measured by turns carry the same facts of the device, read when they began."""
    numbers: dict[object, int] = {}
    return {row.id: numbers.setdefault(replace(row.facts, steal_share=None), len(numbers)) for row in rows}


def _read_csv(path: Path) -> list[tuple[str, float]]:
    try:
        lines = list(csv.reader(io.StringIO(read_whole_text(path), newline=""), strict=True))
    except csv.Error as error:
        raise FileFormatError(f"results '{path}' must be comma-separated, but they are not ({error}); save them so") from error
    if [cell.strip() for cell in lines[0]] != _HEADER:
        raise FileFormatError(
            f"the first line of results '{path}' must be 'id,ms', but it is '{','.join(lines[0])[:60]}'; write it so, with commas and ms"
        )
    rows = [(number, [cell.strip() for cell in line]) for number, line in enumerate(lines[1:], start=2) if any(line)]
    return [parsed for number, cells in rows if (parsed := _parse_row(cells, f"line {number} of results '{path}'")) is not None]


def _parse_row(cells: Sequence[str], place: str) -> tuple[str, float] | None:
    """Id and ms, or None where the number was left out."""
    if len(cells) != 2:
        raise FileFormatError(
            f"{place} must be an id, a comma and one number such as 12.34, but it has {len(cells)} cells; correct it"
        )
    id, text = cells
    if not text:
        return None
    try:
        ms = float(text)
    except ValueError:
        ms = math.nan
    if not 0 < ms < math.inf or "_" in text:
        raise FileFormatError(f"{place} must hold a positive number of ms such as 12.34, but it holds '{text[:40]}'; correct it")
    return id, ms


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except ModelFileError as error:
        raise FileFormatError(str(error)) from error
