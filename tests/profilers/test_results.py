"""The results file cut at any byte, and records that do not add up."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from profilers.errors import JobError
from profilers.measurement import Measurement
from profilers.measurement_warning import MeasurementWarning
from profilers.results import Failure, Results, ResultsWriter, read_results
from profilers.strict_json import dumps, loads

Make = Callable[..., Measurement]


def write(path: Path, rows: list[Measurement | Failure]) -> bytes:
    with ResultsWriter(path, read_results(path)) as writer:
        for row in rows:
            writer.append(row)
    return path.read_bytes()


def test_rows_come_back_as_they_were(tmp_path: Path, make_measurement: Make) -> None:
    row = make_measurement(affinity=(0, 1), warnings=(MeasurementWarning("slow_runs", "30 % are slow"),))
    failure = Failure("b", None, "some.target", "no such file")
    write(tmp_path / "r.jsonl", [row, failure])
    results = read_results(tmp_path / "r.jsonl")
    assert results.measurements == (row,)
    assert results.failures == (failure,)
    assert read_results(tmp_path / "nothing.jsonl") == Results()


def test_a_file_cut_at_any_byte_gives_its_first_rows(tmp_path: Path, make_measurement: Make) -> None:
    path = tmp_path / "r.jsonl"
    rows = [make_measurement("a"), Failure("b", None, "some.target", "no such file"), make_measurement("c")]
    content = write(path, rows)
    ends = [index + 1 for index, byte in enumerate(content) if byte == ord("\n")]
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        whole = sum(end <= length for end in ends)
        results = read_results(path)
        assert results.measurements == tuple(row for row in rows[:whole] if isinstance(row, Measurement))
        assert results.failures == tuple(row for row in rows[:whole] if isinstance(row, Failure))
        if length % 97 == 0 or length - 1 in ends or length in ends:
            assert write(path, rows[whole:]) == content  # what is written on is not glued to the torn row


def test_a_file_that_lost_a_byte_anywhere_is_refused_or_shorter(tmp_path: Path, make_measurement: Make) -> None:
    path = tmp_path / "r.jsonl"
    row = make_measurement("a")
    content = write(path, [row])
    for place in range(len(content)):
        path.write_bytes(content[:place] + content[place + 1 :])
        try:
            read = read_results(path).measurements
        except JobError:
            continue
        assert read == (), f"byte {place}"


def test_rows_of_earlier_versions_are_read() -> None:
    rows = read_results(Path(__file__).with_name("format_1.jsonl")).measurements
    assert [row.id for row in rows] == ["a", "b"]
    for row in rows:
        assert row.sitting is None
        assert row.p25_low_ms <= row.p25_ms <= row.p25_high_ms
        assert Measurement.from_json(row.to_json()) == row


def test_a_changed_byte_is_never_read_as_a_result(tmp_path: Path, make_measurement: Make) -> None:
    path = tmp_path / "r.jsonl"
    rows = [make_measurement(id) for id in "abc"]
    content = write(path, list(rows))
    rng = Random(0)
    for _ in range(300):
        changed = bytearray(content)
        changed[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(changed)
        try:
            read = read_results(path).measurements
        except JobError:
            continue
        # Only a newline that was lost or made can shorten the file, and only at its end.
        assert read == tuple(rows[: len(read)])


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path, make_measurement: Make) -> None:
    path = tmp_path / "r.jsonl"
    lines = write(path, [make_measurement(id) for id in "abc"]).splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][: len(lines[1]) // 2] + b"\n" + lines[2])
    with pytest.raises(JobError, match="line 2"):
        read_results(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 3),
        ("id", ""),
        ("model_sha256", "xyz"),
        ("round_lengths", [3]),
        ("round_lengths", [3, 0, 3]),
        ("round_lengths", [10**12]),
        ("samples", "not base64!"),
        ("samples", base64.b64encode(b"not zlib").decode()),
        ("samples", base64.b64encode(zlib.compress(np.zeros(6, "<i8").tobytes())).decode()),
        ("samples", base64.b64encode(zlib.compress(bytes(10_000_000))).decode()),
        ("converged", 1),
        ("num_warmup", -1),
        ("num_warmup", True),
        ("load_ms", "1.5"),
        ("runs_per_sample", 0),
        ("warnings", [{"kind": "mood", "message": "bad"}]),
        ("extra", 1),
    ],
)
def test_records_that_do_not_add_up_are_refused(make_measurement: Make, key: str, value: Any) -> None:
    document = {**make_measurement().to_json(), key: value}
    with pytest.raises(JobError):
        Measurement.from_json(document)


def test_a_summary_that_contradicts_the_samples_is_refused(make_measurement: Make) -> None:
    document = make_measurement().to_json()
    document["summary"]["median_ms"] *= 0.9
    with pytest.raises(JobError, match="median_ms"):
        Measurement.from_json(document)


def test_figures_by_hand(make_measurement: Make) -> None:
    m = make_measurement(rounds=((1_000_000, 2_000_000, 3_000_000), (4_000_000,) * 3))
    assert (m.median_ms, m.p25_ms, m.min_ms, m.mean_ms) == (3.0, 2.75, 1.0, 3.0)
    assert (m.low_ms, m.high_ms) == (2.0, 4.0)
    assert (m.p25_low_ms, m.p25_high_ms) == (1.5, 4.0)
    assert m.num_runs == 6
    assert m.percentile_ms(99) is None


@pytest.mark.parametrize("rounds", [(), ((),), ((1, 0),), ((1, -5),)])
def test_times_must_be_positive(make_measurement: Make, rounds: Any) -> None:
    with pytest.raises(JobError):
        make_measurement(rounds=rounds)


def test_samples_of_any_size_survive(make_measurement: Make) -> None:
    rng = Random(1)
    rounds = tuple(tuple(rng.randrange(1, 10 ** rng.randrange(1, 16)) for _ in range(9)) for _ in range(5))
    row = make_measurement(rounds=rounds)
    assert Measurement.from_json(loads(dumps(row.to_json()), "row")) == row
