"""The latency predictor of a device for a space: from a table that is there, or from one that is measured now."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nat_deploy.predictors.latency import (
    LatencyPredictor,
    LatencyTable,
    load_table,
    predictor_from_table,
    save_table,
    table_path,
)
from nat_deploy.profiling import TABLES_FOLDER, Device, ProfileProgress, find_table, profile
from nat_deploy.spaces import SearchSpace

OnProfile = Callable[[ProfileProgress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyModel:
    """A predictor and the table it comes from."""

    table: LatencyTable
    predictor: LatencyPredictor


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
        DeviceError: The device cannot measure from here, and there is no table.
        MeasurementError: The device gave no usable measurement.
    """
    tables = run / TABLES_FOLDER
    finished = tables / f"{space.name}.finished"  # an interrupted profile goes on, a finished one is taken as it is
    known = load_table(next(tables.glob(f"*/{space.name}.json"))) if finished.exists() else find_table(device, space.name)
    if known is None:
        known = profile(device, space, out_dir=tables, minutes=profile_minutes, seed=seed, on_progress=on_profile)
    if not finished.exists():
        path = table_path(tables, known.target, space.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_table(known, path)
        finished.touch()
    return LatencyModel(table=known, predictor=predictor_from_table(space, known))
