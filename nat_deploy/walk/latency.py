"""The latency predictor of a device for a space: from a table that is there, or from one that is measured now."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nat_deploy.errors import FileFormatError, MissingError
from nat_deploy.files import write_atomically
from nat_deploy.predictors.latency import LatencyTable, TablePredictor, load_table, save_table, table_path
from nat_deploy.profiling import TABLES_FOLDER, Device, ProfileProgress, find_table, profile, user_tables_folder
from nat_deploy.spaces import SearchSpace

OnProfile = Callable[[ProfileProgress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyModel:
    """A predictor and the table it comes from.

    The predictor speaks of the median, because budgets are held against the median: people mean it by a latency, and other tools
    print it. Fitted on the first quartile, which is best for ranking, it would be too low by what a busy host adds: 1 to 2 % on a
    quiet machine, 8 % and more on a busy one. Fitted on the median it ranks as well, to a tenth of a percent of error or two.
    """

    table: LatencyTable
    predictor: TablePredictor


def get_latency_model(
    device: Device,
    space: SearchSpace,
    *,
    run: Path,
    profile_minutes: float,
    seed: int = 0,
    on_profile: OnProfile | None = None,
) -> LatencyModel:
    """The predictor of `device` for `space`.

    The table is copied or measured into the run folder, so that a resumed run sees the very same one.

    Args:
        run: Folder of the run; the table lies in its `latency_tables/` afterwards.
        profile_minutes: Time to measure, where no table of this device and space is known.

    Raises:
        MissingError: The device only predicts, and there is no table.
        DeviceError: The device cannot measure from here, and there is no table.
        MeasurementError: The device gave no usable measurement.
    """
    tables = run / TABLES_FOLDER
    finished = tables / f"{space.name}.{device.name}.target"  # an interrupted profile goes on, a finished one is taken as it is
    if finished.exists():
        known = _finished_table(finished, space)
    else:
        known = find_table(device, space.name) or _profile(
            device, space, tables, minutes=profile_minutes, seed=seed, on_profile=on_profile
        )
        path = table_path(tables, known.target, space.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_table(known, path)
        write_atomically(finished, known.target.key)
    return LatencyModel(table=known, predictor=TablePredictor.of(space, known, statistic="median"))


def _finished_table(note: Path, space: SearchSpace) -> LatencyTable:
    try:
        key = note.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"'{note}' must name a target, but it cannot be read ({error}); start a new run") from error
    if key not in {folder.name for folder in note.parent.iterdir()}:  # a run folder may come from anybody
        raise FileFormatError(
            f"'{note}' must name a target whose table lies beside it, but it names '{key[:80]}'; start a new run"
        )
    return load_table(note.parent / key / f"{space.name}.json")


def _profile(
    device: Device, space: SearchSpace, tables: Path, *, minutes: float, seed: int, on_profile: OnProfile | None
) -> LatencyTable:
    if device.transport == "table":
        raise MissingError(
            f"device '{device.name}' answers predictions only, so its table '{device.target}/{space.name}.json' must lie in "
            f"'{user_tables_folder()}', but it does not; put it there with natdeploy table import"
        )
    return profile(device, space, out_dir=tables, minutes=minutes, seed=seed, on_progress=on_profile)
