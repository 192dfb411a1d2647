"""Where latency tables lie: the user's folder, a run's folder, and those that the package ships."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from nat_deploy.errors import FileFormatError, NatDeployError
from nat_deploy.predictors.latency import FEW_NETWORKS, LatencyTable, load_table
from nat_deploy.profiling.devices import Device, open_device
from nat_deploy.profiling.measure import read_target
from profilers.target import Target
from profilers.transports.base import Transport

TABLES_FOLDER = "latency_tables"
_MOST_SOURCES = 6  # each costs a fit, and the most alike come first
_LEAST_TO_TEACH = 30  # networks from which a table can teach another


def user_tables_folder() -> Path:
    """Where `natdeploy profile` keeps tables unless told otherwise."""
    return platformdirs.user_data_path("natdeploy") / TABLES_FOLDER


def shipped_tables_folder() -> Path:
    """Where the tables that come with the package lie."""
    # A folder of data without code is a namespace package: installed or not, its path is where the files are.
    return Path(next(iter(importlib.import_module("latency_tables").__path__)))


def table_folders(run_folder: Path | None = None) -> tuple[Path, ...]:
    """Folders of tables in the order they are searched."""
    of_run = () if run_folder is None else (run_folder / TABLES_FOLDER,)
    return (user_tables_folder(), *of_run, shipped_tables_folder())


def find_table(
    device: Device,
    space_name: str,
    *,
    run_folder: Path | None = None,
    folders: Sequence[Path] | None = None,
    transport: Transport | None = None,
) -> LatencyTable | None:
    """The table of a device and a space, or None when nobody has measured one.

    A device that can be reached is asked which target it is, so a table of another software version is not taken for it.

    Args:
        run_folder: A run that may hold tables of its own.
        folders: Instead of `table_folders(run_folder)`.

    Raises:
        DeviceError: The device cannot be reached from here.
        MeasurementError: It does not answer.
        FileFormatError: The table is there but broken.
    """
    path = find_tables(device, run_folder=run_folder, folders=folders, transport=transport).get(space_name)
    return None if path is None else load_table_of_its_folder(path)


def find_tables(
    device: Device,
    *,
    run_folder: Path | None = None,
    folders: Sequence[Path] | None = None,
    transport: Transport | None = None,
) -> dict[str, Path]:
    """Files of all tables of a device, by the space that they are named after; arguments and errors as `find_table`."""
    key = device.target or read_target(device, transport or open_device(device))[1].key
    found: dict[str, Path] = {}
    for folder in table_folders(run_folder) if folders is None else folders:
        for path in sorted((folder / key).glob("*.json")):
            found.setdefault(path.stem, path)
    return found


def load_table_of_its_folder(path: Path) -> LatencyTable:
    """Read a table that lies in a folder of tables, where its place says what it is of.

    Raises:
        FileFormatError: It cannot be read, or was put into the place of another target or space.
    """
    table = load_table(path)
    if (table.target.key, table.space) != (path.parent.name, path.stem):
        raise FileFormatError(
            f"latency table '{path}' must be of the target and the space that its place says, but it is of '{table.target.key}' and "
            f"'{table.space}'; move it to '{table.target.key}/{table.space}.json'"
        )
    return table


def find_sources(table: LatencyTable, *, folders: Sequence[Path] | None = None) -> tuple[LatencyTable, ...]:
    """Tables of other targets for the same space, from which the predictor of a table with few networks can learn; none where it
    has enough of its own.

    Those that differ least in device, runtime, precision and so on come first. Tables that cannot be read are passed over: they
    are not what was asked for.

    Args:
        folders: Instead of `table_folders()`.
    """
    if table.num_networks >= FEW_NETWORKS:
        return ()
    found: dict[str, LatencyTable] = {}
    for folder in table_folders() if folders is None else folders:
        for path in sorted(folder.glob(f"*/{table.space}.json")):
            if path.parent.name != table.target.key and path.parent.name not in found:
                try:
                    found[path.parent.name] = load_table(path)
                except NatDeployError:
                    continue
    teachers = [source for source in found.values() if source.space == table.space and source.num_networks >= _LEAST_TO_TEACH]
    teachers.sort(key=lambda source: (_num_differences(source.target, table.target), source.target.key))
    return tuple(teachers[:_MOST_SOURCES])


def _num_differences(one: Target, other: Target) -> int:
    values = zip(one.to_json().values(), other.to_json().values(), strict=True)
    return sum(first != second for first, second in values)
