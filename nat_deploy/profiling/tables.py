"""Where latency tables lie: the user's folder, a run's folder, and those that the package ships."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from nat_deploy.predictors.latency import LatencyTable, load_table
from nat_deploy.profiling.devices import Device, open_device
from nat_deploy.profiling.measure import read_target
from profilers.transports.base import Transport

TABLES_FOLDER = "latency_tables"


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
    key = device.target or read_target(device, transport or open_device(device))[1].key
    for folder in table_folders(run_folder) if folders is None else folders:
        path = folder / key / f"{space_name}.json"
        if path.is_file():
            return load_table(path)
    return None
