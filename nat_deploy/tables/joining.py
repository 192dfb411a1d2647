"""Tables that belong together become one: partial results, then more of them."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from nat_deploy.errors import InputError
from nat_deploy.predictors.latency import (
    BlockEntry,
    LatencyTable,
    NetworkEntry,
    OverheadEntry,
    load_table,
    save_table,
    table_path,
)

_Entry = TypeVar("_Entry", BlockEntry, NetworkEntry, OverheadEntry)


def add_to_folder(table: LatencyTable, folder: Path) -> tuple[Path, LatencyTable]:
    """Write a table into a folder of tables, or add its entries to the one of the same target and space.

    Returns:
        The file, and all that it holds now.

    Raises:
        InputError: The table that is there cannot be joined with this one.
        FileFormatError: It cannot be read.
    """
    path = table_path(folder, table.target, table.space)
    whole = joined(load_table(path), table) if path.exists() else table
    save_table(whole, path)
    return path, whole


def joined(known: LatencyTable, new: LatencyTable) -> LatencyTable:
    """Both tables in one; what both hold is kept once, so importing a file again changes nothing.

    Raises:
        InputError: They are of different targets, spaces or numbers of classes.
    """
    for name in ("space", "num_classes"):
        if getattr(known, name) != getattr(new, name):
            raise InputError(
                f"a latency table must hold networks of one {name}, but it is of '{getattr(known, name)}' and the new latencies are of "
                f"'{getattr(new, name)}'; give another --out"
            )
    first = known.num_sittings
    both = known.extended(
        new.target,
        blocks=_unknown(new.blocks, known.blocks, first),
        networks=_unknown(new.networks, known.networks, first),
        overheads=_unknown(new.overheads, known.overheads, first),
        warnings=new.warnings,
    )
    return replace(both, facts=known.facts or new.facts)


def _unknown(new: Iterable[_Entry], known: Iterable[_Entry], first_sitting: int) -> list[_Entry]:
    """The entries that are not known yet, their sittings counted on."""
    there = {replace(entry, sitting=0) for entry in known}
    return [replace(entry, sitting=first_sitting + entry.sitting) for entry in new if replace(entry, sitting=0) not in there]
