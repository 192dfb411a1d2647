"""Profile: a latency table of a device and a search space, and how well it predicts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nat_deploy.predictors.latency import Card, LatencyTable, make_card, table_path
from nat_deploy.profiling import (
    PROFILE_SETTINGS,
    Device,
    Limit,
    ProfileProgress,
    find_device,
    find_sources,
    open_device,
    profile,
    user_tables_folder,
)
from nat_deploy.spaces import make_space
from nat_deploy.walk.shipped import SHIPPED_SPACE, resolutions_of
from profilers import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileAnswer:
    """What a profile wrote.

    path        file of the table
    card        how well the table predicts
    ended_by    the limit that was reached
    mape        mean error on networks left out, the speed of their sitting known, as a share; None while there are too few
    """

    path: Path
    table: LatencyTable
    card: Card
    ended_by: Limit | None
    mape: float | None


def profile_device(
    device: Device | str = "cpu",
    space: str = SHIPPED_SPACE,
    *,
    minutes: float | None = None,
    networks: int | None = None,
    until_mape: float | None = None,
    settings: Settings = PROFILE_SETTINGS,
    resolutions: tuple[int, ...] | None = None,
    out: Path | None = None,
    seed: int = 0,
    on_progress: Callable[[ProfileProgress], None] = lambda progress: None,
) -> ProfileAnswer:
    """Write or extend the latency table of a device and a space; the first of three limits ends it, and one must be given.

    Args:
        device: It, or its name.
        minutes: Time to measure.
        networks: Stop when the table holds so many whole networks.
        until_mape: Stop when networks left out are predicted with this mean error, as a share.
        resolutions: Image sizes in pixels, rising; by default those of the shipped supernet or of the space.
        out: Folder of tables; by default the user's, where a search finds them.

    Raises:
        InputError: No limit came, or one that cannot be.
        DeviceError: The device is unknown, or cannot measure from here.
        MeasurementError: The device gave no usable measurement.
    """
    found = find_device(device) if isinstance(device, str) else device
    transport = open_device(found)
    search_space = make_space(space, resolutions=resolutions or resolutions_of(space))
    folder = out or user_tables_folder()
    last: list[ProfileProgress] = []

    def note(progress: ProfileProgress) -> None:
        last[:] = [progress]
        on_progress(progress)

    table = profile(
        found,
        search_space,
        out_dir=folder,
        minutes=minutes,
        num_networks=networks,
        until_mape=until_mape,
        settings=settings,
        seed=seed,
        transport=transport,
        on_progress=note,
    )
    return ProfileAnswer(
        path=table_path(folder, table.target, table.space),
        table=table,
        card=make_card(search_space, table, sources=find_sources(table)),
        ended_by=last[-1].ended_by,
        mape=last[-1].mape,
    )
