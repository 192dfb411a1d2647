"""Profiling against a device in memory: what is measured, what is kept, when it stops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import DeviceError, InputError, MeasurementError
from nat_deploy.predictors.latency import (
    AdditivePredictor,
    BlockIndex,
    LatencyTable,
    load_table,
    predictor_from_table,
    score,
    table_path,
)
from nat_deploy.profiling import (
    Device,
    ProfileProgress,
    find_sources,
    find_table,
    judge,
    measure_architectures,
    profile,
    profile_settings,
)
from nat_deploy.profiling.choose import Sitting, choose_sitting, choose_telling, reference_network
from nat_deploy.profiling.graphs import write_networks, write_sitting
from nat_deploy.spaces import Architecture, SearchSpace, make_space
from profilers.runtimes import open_runtime
from profilers.target import Target
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


@pytest.mark.parametrize(("runtime", "package"), [("litert", "ai_edge_litert"), ("executorch", "executorch")])
def test_a_runtime_gets_the_files_it_takes(runtime: str, package: str, space: SearchSpace, tmp_path: Path) -> None:
    """Built as ONNX and converted; the same seed gives the same bytes, so that a killed sitting is taken up again."""
    pytest.importorskip(package)
    device = Device(name="phone", runtime=runtime, batch_size=2)
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    first, second = (
        write_networks(device, space, [space.smallest()], tmp_path / folder, seed=3) for folder in ("first", "second")
    )
    assert Path(first[0].path).read_bytes() == Path(second[0].path).read_bytes()
    with open_runtime(runtime).load(first[0].path, batch_size=2) as session:
        (output,) = session.infer({name: np.zeros(spec.shape, np.float32) for name, spec in session.inputs.items()}).values()
    assert output.shape == (2, 5)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_graph_of_a_sitting_takes_the_batch(batch_size: int, space: SearchSpace, tmp_path: Path) -> None:
    device = replace(CPU, batch_size=batch_size)
    smallest = space.smallest()
    sitting = Sitting(networks=(smallest,), blocks=tuple(space.blocks(smallest)[:2]), with_overhead=True)
    for model in write_sitting(device, space, sitting, tmp_path, seed=0):
        with open_runtime("onnxruntime").load(model.path, batch_size=batch_size) as session:
            assert [spec.shape[0] for spec in session.inputs.values()] == [batch_size]


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


def test_stops_when_the_error_is_small_enough(space: SearchSpace, tmp_path: Path) -> None:
    seen: list[ProfileProgress] = []
    table = profile(
        CPU,
        space,
        out_dir=tmp_path,
        until_mape=0.05,
        num_networks=200,
        transport=FakeTransport(),
        on_progress=seen.append,
    )
    assert seen[-1].ended_by == "mape"
    assert seen[-1].mape is not None
    assert seen[-1].mape <= 0.05
    assert 20 <= table.num_networks < 200
    assert all(progress.ended_by is None for progress in seen[:-1])
    again: list[ProfileProgress] = []
    transport = FakeTransport()
    profile(CPU, space, out_dir=tmp_path, until_mape=0.05, transport=transport, on_progress=again.append)
    assert transport.measured == []
    assert [progress.ended_by for progress in again] == ["mape"]


def test_the_limit_that_ended_it_is_told(space: SearchSpace, tmp_path: Path) -> None:
    seen: list[ProfileProgress] = []
    profile(
        CPU, space, out_dir=tmp_path / "a", num_networks=6, until_mape=1e-9, transport=FakeTransport(), on_progress=seen.append
    )
    assert (seen[-1].ended_by, seen[-1].mape) == ("networks", None)
    transport = FakeTransport()
    profile(
        CPU, space, out_dir=tmp_path / "b", minutes=0.1, until_mape=1e-9, transport=transport, clock=transport.clock,
        on_progress=seen.append,
    )  # fmt: skip
    assert seen[-1].ended_by == "minutes"


def test_the_most_telling_is_measured_first() -> None:
    """Two directions of doubt: the others doubt the first one most, and one candidate that says it all comes before its copy."""
    candidates = np.array([[0.0, 1.0], [3.0, 0.0], [3.0, 0.0], [0.1, 0.1]])
    others = np.array([[2.0, 0.1], [2.0, 0.0], [0.0, 1.0]])
    assert choose_telling(candidates, others, noise=0.01, count=2) == [1, 0]
    assert len(choose_telling(candidates, others, noise=0.01, count=9)) == 4


def test_choosing_follows_bayes() -> None:
    """The variance left after the choice is that of the textbook, computed with whole covariance matrices."""
    rng = np.random.default_rng(0)
    candidates, others, noise = rng.standard_normal((30, 5)), rng.standard_normal((40, 5)), 0.3

    def left(places: list[int]) -> float:
        seen = candidates[places]
        precision = np.eye(5) + seen.T @ seen / noise**2
        return float(np.trace(others @ np.linalg.inv(precision) @ others.T))

    chosen = choose_telling(candidates, others, noise=noise, count=4)
    for count in range(4):
        known = chosen[:count]
        best = min((place for place in range(30) if place not in known), key=lambda place: left([*known, place]))
        assert chosen[count] == best


def test_the_same_table_and_seed_choose_the_same(space: SearchSpace, tmp_path: Path) -> None:
    table = profile(CPU, space, out_dir=tmp_path, num_networks=30, transport=FakeTransport())
    index = BlockIndex(space)
    first, again, other = (
        choose_sitting(index, table, predictor_of(table, space), seed=seed, num_networks=11) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert first.networks[0] == reference_network(space)
    assert not set(first.networks[1:]) & {entry.architecture for entry in table.networks}


def predictor_of(table: LatencyTable, space: SearchSpace) -> AdditivePredictor:
    predictor = predictor_from_table(space, table)
    assert isinstance(predictor, AdditivePredictor)
    return predictor


def test_tables_of_other_devices_are_found_for_a_small_one(space: SearchSpace, tmp_path: Path) -> None:
    def table_of(target: Target, num_networks: int) -> LatencyTable:
        return profile(CPU, space, out_dir=tmp_path, num_networks=num_networks, transport=FakeTransport(target=target))

    small = table_of(TARGET, 6)
    alike = table_of(replace(TARGET, threads=2), 30)
    other = table_of(replace(TARGET, device="phone", precision="int8"), 30)
    table_of(replace(TARGET, device="poor"), 6)
    broken = tmp_path / "broken" / f"{space.name}.json"
    broken.parent.mkdir()
    broken.write_text("{")
    assert find_sources(small, folders=(tmp_path,)) == (alike, other)
    large = replace(small, networks=tuple(replace(alike.networks[0], architecture=arch) for arch in _many(space, 60)))
    assert find_sources(large, folders=(tmp_path,)) == ()


def _many(space: SearchSpace, count: int) -> list[Architecture]:
    return list(dict.fromkeys(space.decode(genes) for genes in space.sample(np.random.default_rng(0), 2 * count)))[:count]


def test_presets_differ_in_exactness() -> None:
    widths = [profile_settings(preset).half_width for preset in ("fast", "default", "precise")]
    assert widths == sorted(widths, reverse=True)
    with pytest.raises(InputError, match="must be one of fast, default, precise"):
        profile_settings("slow")  # type: ignore[arg-type]
