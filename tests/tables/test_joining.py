"""Tables that are extended by more of the same target, and by nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import FileFormatError, InputError
from nat_deploy.predictors.latency import LatencyTable, load_table
from nat_deploy.tables import add_to_folder, joined
from tests.predictors.synthetic_device import FACTS, TARGET, make_table, small_space, timing


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return make_table(small_space(), np.random.default_rng(0), num_networks=6, num_blocks=4)


def part(table: LatencyTable, networks: slice, blocks: slice) -> LatencyTable:
    return replace(table, networks=table.networks[networks], blocks=table.blocks[blocks])


def test_parts_make_the_whole(table: LatencyTable, tmp_path: Path) -> None:
    path, first = add_to_folder(part(table, slice(2), slice(2)), tmp_path)
    assert path == tmp_path / TARGET.key / f"{table.space}.json"
    assert len(first.networks) == 2
    _, whole = add_to_folder(part(table, slice(2, None), slice(2, None)), tmp_path)
    assert [entry.architecture for entry in whole.networks] == [entry.architecture for entry in table.networks]
    assert [entry.block for entry in whole.blocks] == [entry.block for entry in table.blocks]
    assert load_table(path) == whole


def test_sittings_are_counted_on(table: LatencyTable) -> None:
    both = joined(part(table, slice(2), slice(2)), part(table, slice(2, None), slice(2, None)))
    assert [entry.sitting for entry in both.networks] == [0, 0, 2, 2, 2, 2]
    assert [entry.sitting for entry in both.blocks] == [1, 1, 3, 3]


def test_the_same_again_changes_nothing(table: LatencyTable, tmp_path: Path) -> None:
    path, _ = add_to_folder(table, tmp_path)
    before = path.read_bytes()
    _, again = add_to_folder(table, tmp_path)
    assert again == table
    assert path.read_bytes() == before


def test_a_network_measured_again_is_kept_twice(table: LatencyTable) -> None:
    again = replace(table, networks=(replace(table.networks[0], timing=timing(9)),), blocks=(), overheads=())
    both = joined(table, again)
    assert len(both.networks) == 7
    assert both.networks[-1].sitting == 2


def test_facts_are_kept_or_learned(table: LatencyTable) -> None:
    unknown = replace(table, facts=None)
    assert joined(unknown, table).facts == joined(table, unknown).facts == FACTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": replace(TARGET, threads=2)}, "must hold one target"),
        ({"space": "ofa-mbv3-w1.0"}, "networks of one space"),
        ({"num_classes": 100}, "networks of one num_classes, but it is of '10' and the new latencies are of '100'"),
    ],
)
def test_what_does_not_belong_together_is_refused(table: LatencyTable, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        joined(table, replace(table, **change))


def test_other_targets_go_into_files_of_their_own(table: LatencyTable, tmp_path: Path) -> None:
    paths = {add_to_folder(replace(table, target=replace(TARGET, threads=threads)), tmp_path)[0] for threads in (1, 2)}
    assert len(paths) == 2


def test_a_broken_table_is_not_overwritten(table: LatencyTable, tmp_path: Path) -> None:
    path, _ = add_to_folder(table, tmp_path)
    path.write_text(path.read_text()[:500])
    with pytest.raises(FileFormatError):
        add_to_folder(table, tmp_path)
    assert len(path.read_text()) == 500


def test_a_table_of_another_target_in_this_place_is_not_extended(table: LatencyTable, tmp_path: Path) -> None:
    path, _ = add_to_folder(table, tmp_path)
    other = replace(table, target=replace(TARGET, threads=2))
    path.rename(tmp_path / "kept.json")
    _, _ = add_to_folder(other, tmp_path)
    (tmp_path / other.target.key / f"{table.space}.json").rename(path)
    with pytest.raises(InputError, match="must hold one target"):
        add_to_folder(table, tmp_path)
