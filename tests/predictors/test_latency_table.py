"""The latency table's file: read back as written, refused when broken, never a traceback."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nat_deploy.errors import FileFormatError, InputError, MissingError
from nat_deploy.predictors.latency import LatencyTable, Timing, load_table, save_table, table_json, table_path
from tests.predictors.synthetic_device import TARGET, make_table, small_space, timing


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return make_table(small_space(), np.random.default_rng(0), num_networks=6, num_blocks=3)


def test_is_read_back_as_written(table: LatencyTable, tmp_path: Path) -> None:
    path = table_path(tmp_path, table.target, table.space)
    save_table(table, path)
    assert load_table(path) == table
    assert path == tmp_path / "synthetic.fake-1.fp32.t1.b1" / "ofa-mbv3-w0.5.json"


def test_an_empty_table_is_a_table(table: LatencyTable, tmp_path: Path) -> None:
    empty = replace(table, networks=(), blocks=(), overheads=(), warnings=())
    save_table(empty, tmp_path / "table.json")
    assert load_table(tmp_path / "table.json") == empty


def test_has_a_format_and_a_unit(table: LatencyTable) -> None:
    document = json.loads(table_json(table))
    assert (document["format"], document["unit"]) == (1, "ms")


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        load_table(tmp_path / "table.json")


def test_targets_do_not_mix(table: LatencyTable) -> None:
    with pytest.raises(InputError, match="must hold one target"):
        table.extended(replace(TARGET, threads=2))


def test_sittings_are_counted(table: LatencyTable) -> None:
    assert table.num_sittings == 2
    assert replace(table, networks=(), blocks=(), overheads=()).num_sittings == 0


@pytest.mark.parametrize(
    ("p25", "median"),
    [((1, 2, 3), (0.9, 1.9, 3)), ((2, 1, 3), (1, 2, 3)), ((0, 1, 2), (1, 2, 3)), ((1, 2, float("inf")), (1, 2, 3))],
)
def test_a_timing_must_make_sense(p25: tuple[float, float, float], median: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        Timing(
            p25_low_ms=p25[0],
            p25_ms=p25[1],
            p25_high_ms=p25[2],
            low_ms=median[0],
            median_ms=median[1],
            high_ms=median[2],
            num_runs=5,
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "must have format 1, but it has 2"),
        ({"unit": "s"}, "'unit'"),
        ({"space": "resnet"}, "space must be one of"),
        ({"extra": 1}, "'extra'"),
        ({"networks": None}, "'networks'"),
        ({"target": {"device": "x"}}, "target lacks the key"),
        ({"num_classes": "10"}, "'num_classes'"),
    ],
)
def test_a_wrong_value_is_named(table: LatencyTable, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(json.loads(table_json(table)) | change))
    with pytest.raises(FileFormatError, match=message):
        load_table(path)


def test_a_small_table_cut_at_any_byte_is_refused_or_whole(table: LatencyTable, tmp_path: Path) -> None:
    small = replace(table, networks=table.networks[:1], blocks=table.blocks[:1])
    text = table_json(small).encode()
    path = tmp_path / "table.json"
    for end in range(len(text)):
        path.write_bytes(text[:end])
        if end == len(text) - 1:  # only the last line break is gone
            assert load_table(path) == small
            continue
        with pytest.raises(FileFormatError):
            load_table(path)


@pytest.fixture(scope="module")
def large_text() -> bytes:
    return table_json(make_table(small_space(), np.random.default_rng(0), num_networks=200, num_blocks=200)).encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_large_table_cut_anywhere_is_refused(large_text: bytes, tmp_path: Path, share: float) -> None:
    text = large_text.rstrip()
    path = tmp_path / "table.json"
    path.write_bytes(text[: int(share * len(text))])
    with pytest.raises(FileFormatError):
        load_table(path)


def test_a_single_figure_is_read_back_as_one(table: LatencyTable, tmp_path: Path) -> None:
    figure = Timing.of_figure(2.0, std_ms=0.5, num_runs=100)
    assert (figure.low_ms, figure.high_ms) == pytest.approx((2 - 0.098, 2 + 0.098))
    assert (figure.p25_ms, figure.median_ms, figure.converged) == (2.0, 2.0, False)
    of_others = replace(
        table,
        facts=None,
        provenance=replace(table.provenance, source="once-for-all"),
        blocks=(replace(table.blocks[0], timing=figure), replace(table.blocks[1], timing=Timing.of_figure(0.1))),
    )
    save_table(of_others, tmp_path / "table.json")
    assert load_table(tmp_path / "table.json") == of_others


def test_a_wild_spread_leaves_a_figure_positive() -> None:
    assert Timing.of_figure(1.0, std_ms=50).low_ms > 0


def test_a_measured_table_has_no_key_that_older_versions_do_not_know(table: LatencyTable) -> None:
    text = table_json(table)
    assert '"single"' not in text
    assert '"source"' not in text


def test_a_single_figure_stands_for_both_statistics(table: LatencyTable, tmp_path: Path) -> None:
    document = json.loads(table_json(table))
    document["blocks"][0]["timing"]["single"] = True
    (tmp_path / "table.json").write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match="single figure must stand for both"):
        load_table(tmp_path / "table.json")


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_value_is_read_or_refused(table: LatencyTable, tmp_path: Path, data: st.DataObject) -> None:
    document = json.loads(table_json(table))
    parent: Any = document
    while True:
        key = data.draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
        if not isinstance(parent[key], dict | list) or not parent[key] or data.draw(st.booleans()):
            break
        parent = parent[key]
    parent[key] = data.draw(_JSON)
    path = tmp_path / "table.json"
    path.write_text(json.dumps(document))
    with contextlib.suppress(FileFormatError):
        load_table(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.json"
    path.write_bytes(content)
    with pytest.raises(FileFormatError):
        load_table(path)


def test_extending_keeps_what_was_there(table: LatencyTable) -> None:
    more = table.extended(TARGET, networks=[replace(table.networks[0], sitting=5, timing=timing(3))], warnings=table.warnings)
    assert more.networks[:-1] == table.networks
    assert more.warnings == table.warnings
    assert more.num_sittings == 6
