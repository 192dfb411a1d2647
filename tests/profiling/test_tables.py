"""Where tables are found, and that a table in the place of another is not taken for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import FileFormatError
from nat_deploy.predictors.latency import LatencyTable, save_table, table_path
from nat_deploy.profiling import Device, find_table, find_tables
from tests.predictors.synthetic_device import TARGET, make_table, small_space

PHONE = Device(name="phone", transport="table", target=TARGET.key)


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return make_table(small_space(), np.random.default_rng(0), num_networks=2, num_blocks=0)


def test_the_first_folder_wins(table: LatencyTable, tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    save_table(table, table_path(far, TARGET, table.space))
    assert find_table(PHONE, table.space, folders=[near, far]) == table
    nearer = replace(table, networks=table.networks[:1])
    save_table(nearer, table_path(near, TARGET, table.space))
    assert find_table(PHONE, table.space, folders=[near, far]) == nearer
    assert find_tables(PHONE, folders=[near, far]) == {table.space: table_path(near, TARGET, table.space)}


def test_a_space_without_a_table_has_none(table: LatencyTable, tmp_path: Path) -> None:
    save_table(table, table_path(tmp_path, TARGET, table.space))
    assert find_table(PHONE, "ofa-mbv3-w1.2", folders=[tmp_path]) is None


def test_a_table_of_another_target_is_not_taken_for_this_one(table: LatencyTable, tmp_path: Path) -> None:
    save_table(replace(table, target=replace(TARGET, threads=4)), table_path(tmp_path, TARGET, table.space))
    with pytest.raises(FileFormatError, match=r"must be of the target .* but it is of 'synthetic.fake-1.fp32.t4.b1'"):
        find_table(PHONE, table.space, folders=[tmp_path])
