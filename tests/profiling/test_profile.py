"""Profiling against a device in memory: what is measured, what is kept, when it stops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import DeviceError, InputError, MeasurementError
from nat_deploy.predictors.latency import load_table, predictor_from_table, score, table_path
from nat_deploy.profiling import Device, ProfileProgress, find_table, judge, measure_architectures, profile
from nat_deploy.profiling.choose import reference_network
from nat_deploy.profiling.graphs import write_networks
from nat_deploy.spaces import SearchSpace, make_space
from tests.predictors.synthetic_device import TARGET, timing
from tests.profiling.fake_transport import FakeTransport, graph_ms

CPU = Device(name="cpu")


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return make_space("ofa-mbv3-w0.35", resolutions=(32, 48, 64), num_classes=5)


def test_a_profile_makes_a_good_predictor(space: SearchSpace, tmp_path: Path) -> None:
    table = profile(CPU, space, out_dir=tmp_path, num_networks=36, transport=FakeTransport())
    assert load_table(table_path(tmp_path, TARGET, space.name)) == table
    assert table.num_networks == 36
    assert len(table.blocks) == 11
    assert len(table.overheads) == 1
    assert {space.smallest(), space.largest()} <= {entry.architecture for entry in table.networks}
    with_reference = {entry.sitting for entry in table.networks if entry.architecture == reference_network(space)}
    assert with_reference == set(range(table.num_sittings))
    assert len(table.networks) == 36 + table.num_sittings - 1
    genes = space.sample(np.random.default_rng(9), 40)
    models = write_networks(CPU, space, [space.decode(row) for row in genes], tmp_path, seed=0)
    exact = np.array([graph_ms(Path(model.path)) for model in models])
    scores = score(predictor_from_table(space, table).predict(genes), exact)
    assert scores.mape < 0.05
    assert scores.kendall_tau > 0.9


def test_stops_when_the_time_is_up(space: SearchSpace, tmp_path: Path) -> None:
    transport = FakeTransport()
    seen: list[ProfileProgress] = []
    table = profile(
        CPU, space, out_dir=tmp_path, minutes=0.3, transport=transport, clock=transport.clock, on_progress=seen.append
    )
    assert 13 <= len(transport.measured) <= 18
    assert len(table.networks) + len(table.blocks) + len(table.overheads) == len(transport.measured)
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1


def test_a_killed_profile_loses_nothing(space: SearchSpace, tmp_path: Path) -> None:
    whole = profile(CPU, space, out_dir=tmp_path / "whole", num_networks=14, transport=FakeTransport())
    dying = FakeTransport(dies_after=13)
    with pytest.raises(MeasurementError, match="device 'cpu': the device must answer"):
        profile(CPU, space, out_dir=tmp_path / "cut", num_networks=14, transport=dying)
    assert load_table(table_path(tmp_path / "cut", TARGET, space.name)).num_networks == 11
    after = FakeTransport()
    resumed = profile(CPU, space, out_dir=tmp_path / "cut", num_networks=14, transport=after)
    assert [entry.architecture for entry in resumed.networks] == [entry.architecture for entry in whole.networks]
    assert len(dying.measured) + len(after.measured) == 14 + 1 + 1  # with the identity graph, and the reference once more


def test_an_old_table_is_extended(space: SearchSpace, tmp_path: Path) -> None:
    first = profile(CPU, space, out_dir=tmp_path, num_networks=6, transport=FakeTransport())
    other = make_space(space.name, resolutions=(80,), num_classes=9)
    second = profile(CPU, other, out_dir=tmp_path, num_networks=8, transport=FakeTransport())
    assert second.networks[:6] == first.networks
    assert second.num_classes == first.num_classes
    assert {entry.architecture.resolution for entry in second.networks[6:]} == {80}
    assert second.num_networks == 8


@pytest.mark.parametrize("limits", [{}, {"minutes": 0.0}, {"minutes": float("nan")}, {"num_networks": -1}])
def test_a_limit_is_needed(space: SearchSpace, tmp_path: Path, limits: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"profiling"):
        profile(CPU, space, out_dir=tmp_path, transport=FakeTransport(), **limits)  # type: ignore[arg-type]


def test_finalists_are_measured_once(space: SearchSpace, tmp_path: Path) -> None:
    transport = FakeTransport()
    finalists = [space.smallest(), space.largest()]
    first = measure_architectures(CPU, space, finalists, work_dir=tmp_path, transport=transport)
    again = measure_architectures(CPU, space, finalists, work_dir=tmp_path, transport=transport)
    assert first == again
    assert first[0].p25_ms < first[1].p25_ms
    assert len(transport.measured) == 2


def test_tables_are_found_by_target(space: SearchSpace, tmp_path: Path) -> None:
    table = profile(CPU, space, out_dir=tmp_path / "b", num_networks=6, transport=FakeTransport())
    folders = (tmp_path / "a", tmp_path / "b")
    assert find_table(CPU, space.name, folders=folders, transport=FakeTransport()) == table
    assert find_table(Device(name="old", transport="table", target=TARGET.key), space.name, folders=folders) == table
    other = FakeTransport(target=replace(TARGET, threads=2))
    assert find_table(CPU, space.name, folders=folders, transport=other) is None
    assert find_table(CPU, "ofa-mbv3-w1.0", folders=folders, transport=FakeTransport()) is None


def test_a_table_device_cannot_measure(space: SearchSpace, tmp_path: Path) -> None:
    device = Device(name="old", transport="table", target=TARGET.key)
    with pytest.raises(DeviceError, match="answers predictions only"):
        measure_architectures(device, space, [space.smallest()], work_dir=tmp_path)


@pytest.mark.parametrize(
    ("budget", "standing", "kept"), [(1.2, "within", True), (1.1, "within", True), (1.0, "unsure", False), (0.8, "over", False)]
)
def test_a_budget_is_kept_with_the_interval(budget: float, standing: str, kept: bool) -> None:
    verdict = judge(timing(1.0, noise=0.1), budget)
    assert (verdict.standing, verdict.is_kept) == (standing, kept)
