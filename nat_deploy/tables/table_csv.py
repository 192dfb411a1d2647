"""A latency table as comma-separated values, for spreadsheets and other tools."""

import csv
import io
from collections.abc import Iterator
from dataclasses import fields

from nat_deploy.predictors.latency import LatencyTable, Timing
from nat_deploy.spaces import Block, count_macs, make_space

_TIMING = tuple(field.name for field in fields(Timing))
HEADER = ("kind", "name", "resolution", "depth", "kernel", "expand", "width", "macs", *_TIMING, "sitting")


def table_csv(table: LatencyTable) -> str:
    """One line for each measured graph under `HEADER`: networks, blocks (by `Block.key`), graphs that do nothing; latencies in ms
    of one batch, MACs of one image."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for what, timing, sitting in _rows(table):
        writer.writerow([*what, *(getattr(timing, name) for name in _TIMING), sitting])
    return text.getvalue()


def _rows(table: LatencyTable) -> Iterator[tuple[tuple[object, ...], Timing, int]]:
    for network in table.networks:
        arch = network.architecture
        space = make_space(table.space, resolutions=(arch.resolution,), num_classes=table.num_classes)
        lists = (" ".join(map(str, values)) for values in (arch.depth, arch.kernel, arch.expand, arch.width))
        macs = _macs(space.blocks(arch))
        yield ("network", table.space, arch.resolution, *lists, macs), network.timing, network.sitting
    for entry in table.blocks:
        yield ("block", entry.block.key, "", "", "", "", "", _macs((entry.block,))), entry.timing, entry.sitting
    for overhead in table.overheads:
        yield ("overhead", "", "", "", "", "", "", 0), overhead.timing, overhead.sitting


def _macs(blocks: tuple[Block, ...]) -> int:
    return sum(count_macs(block) for block in blocks)
