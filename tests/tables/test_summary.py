"""What a table is said to be worth, its CSV, and the limits of plausible latencies."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import InputError, MissingError
from nat_deploy.predictors.latency import BlockEntry, LatencyTable, Timing, save_table, table_path
from nat_deploy.spaces import Block, count_macs, make_space
from nat_deploy.tables import check_plausible, measured_space, open_table, plausible_range_ms, summarise, table_csv
from tests.predictors.synthetic_device import TARGET, make_table, network_ms, small_space, timing

LINEAR = Block(kind="linear", in_channels=1000, out_channels=1000, in_size=1)


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return make_table(small_space(), np.random.default_rng(0), num_networks=40, num_blocks=12)


def test_a_good_table_is_not_doubted(table: LatencyTable) -> None:
    summary = summarise(table)
    assert summary.doubts == ()
    assert summary.card is not None
    assert summary.card.scores.within_10 > 0.95
    assert (summary.num_single, summary.num_unconverged) == (0, 0)


def test_the_predicted_range_is_that_of_the_extremes(table: LatencyTable) -> None:
    space = small_space()
    predicted = summarise(table).predicted
    assert predicted is not None
    for found, arch in ((predicted.smallest_ms, space.smallest()), (predicted.largest_ms, space.largest())):
        low, value, high = found
        assert value == pytest.approx(network_ms(space.blocks(arch)), rel=0.15)
        assert low < value < high


def test_the_dearest_blocks_come_first(table: LatencyTable) -> None:
    dearest = [dear.ms for dear in summarise(table).dearest]
    assert dearest == sorted(dearest, reverse=True)
    assert dearest[0] == max(entry.timing.p25_ms for entry in table.blocks)
    assert len(dearest) == 8


def test_every_doubt_is_said(table: LatencyTable) -> None:
    few = replace(table, networks=table.networks[:3], blocks=table.blocks[:2])
    summary = summarise(few)
    assert (summary.card, summary.predicted) == (None, None)
    assert "at least 10 different blocks" in summary.doubts[0]
    assert "whole networks measured: 3" in summary.doubts[1]
    rough = [replace(entry, timing=replace(entry.timing, converged=False)) for entry in table.networks]
    found = summarise(replace(table, networks=tuple(rough)))
    assert found.num_unconverged == 40
    assert found.doubts == ("40 of 53 entries did not become as exact as was asked; measure on a quieter device",)


def test_single_figures_are_counted_apart(table: LatencyTable) -> None:
    figures = [replace(entry, timing=Timing.of_figure(entry.timing.p25_ms)) for entry in table.networks]
    summary = summarise(replace(table, networks=tuple(figures)))
    assert (summary.num_single, summary.num_unconverged) == (40, 0)


def test_an_empty_table_is_doubted_and_not_a_fault(table: LatencyTable) -> None:
    summary = summarise(replace(table, networks=(), blocks=(), overheads=()))
    assert summary.card is None
    assert "at least 5 measured networks, but there are 0" in summary.doubts[0]


def test_the_measured_resolutions_are_those_of_networks_and_stems(table: LatencyTable) -> None:
    assert measured_space(table).resolutions == small_space().resolutions
    stem = BlockEntry(block=small_space().blocks(small_space().smallest())[0], timing=timing(1))
    assert measured_space(replace(table, networks=(), blocks=(stem,))).resolutions == (32,)


def test_a_table_is_opened_by_its_path_or_its_device(
    table: LatencyTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    save_table(table, tmp_path / "a.json")
    assert open_table("a.json") == (Path("a.json"), table)
    with pytest.raises(MissingError):
        open_table("none.json")
    (tmp_path / "devices.toml").write_text(f'[devices.phone]\ntransport = "table"\ntarget = "{TARGET.key}"\n')
    with pytest.raises(MissingError, match="natdeploy table import"):
        open_table("phone")
    folder = tmp_path / "natdeploy" / "latency_tables"
    save_table(table, table_path(folder, TARGET, table.space))
    assert open_table("phone")[1] == table
    wide = make_table(make_space("ofa-mbv3-w1.0", resolutions=(32, 64)), np.random.default_rng(0), num_networks=1, num_blocks=0)
    save_table(wide, table_path(folder, TARGET, wide.space))
    with pytest.raises(InputError, match=r"has tables of ofa-mbv3-w0.5, ofa-mbv3-w1.0; choose one with --space"):
        open_table("phone")
    assert open_table("phone", space="ofa-mbv3-w1.0")[1] == wide
    with pytest.raises(MissingError, match=r"latency table of ofa-mbv3-w1.2"):
        open_table("phone", space="ofa-mbv3-w1.2")


def test_csv_has_one_line_for_each_graph(table: LatencyTable) -> None:
    rows = list(csv.DictReader(io.StringIO(table_csv(table))))
    assert [row["kind"] for row in rows] == ["network"] * 40 + ["block"] * 12 + ["overhead"]
    space, entry = small_space(), table.networks[0]
    assert float(rows[0]["p25_ms"]) == entry.timing.p25_ms
    assert rows[0]["depth"] == " ".join(map(str, entry.architecture.depth))
    assert int(rows[0]["macs"]) == space.count(space.encode(entry.architecture)[None]).macs[0]
    assert rows[40]["name"] == table.blocks[0].block.key
    assert int(rows[40]["macs"]) == count_macs(table.blocks[0].block)


def test_plausible_latencies_by_hand() -> None:
    low, high = plausible_range_ms((LINEAR,), batch_size=1)  # a million MACs: 3e9 a ms at best, 5e4 a ms at worst
    assert low == pytest.approx(1e6 / 3e9)
    assert high == pytest.approx(10 + 20)
    assert plausible_range_ms((), batch_size=1) == (0.0003, 10.0)


@pytest.mark.parametrize("ms", [0.0004, 0.1, 29])
def test_what_some_device_takes_is_accepted(ms: float) -> None:
    check_plausible("it", ms, (LINEAR,), batch_size=1)


@pytest.mark.parametrize(("ms", "unit"), [(0.0003, "seconds"), (31, "microseconds")])
def test_what_no_device_takes_is_refused(ms: float, unit: str) -> None:
    with pytest.raises(InputError, match=f"came for it, .* if these are {unit}"):
        check_plausible("it", ms, (LINEAR,), batch_size=1)
