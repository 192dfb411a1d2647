"""The memory that a model takes: growth between two readings of Linux's figures, and only where they are there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from profilers.agent import measure_job
from profilers.conditions import Condition
from profilers.errors import JobError
from profilers.job import Job, ModelFile
from profilers.measurement import Measurement
from profilers.memory import MemoryWatch
from profilers.results import read_results
from profilers.settings import Settings
from profilers.sitting import Sitting
from tests.profilers.small_models import write_model


def tell(process: Path, resident_kb: int, peak_kb: int) -> None:
    (process / "status").write_text(f"Name:\tpython\nVmHWM:\t{peak_kb} kB\nVmRSS:\t{resident_kb} kB\n")


def test_growth_counts_from_what_was_there_to_the_peak(tmp_path: Path) -> None:
    tell(tmp_path, 1000, 1000)
    watch = MemoryWatch(tmp_path)
    assert (tmp_path / "clear_refs").read_text() == "5"  # Linux begins a new peak
    tell(tmp_path, 1200, 1500)
    watch.look()
    tell(tmp_path, 9000, 9000)
    watch.look()
    assert watch.peak_bytes == 500 * 1024


def test_nothing_is_invented_where_the_system_does_not_tell(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\tmuch\n")
    watch = MemoryWatch(tmp_path)
    watch.look()
    assert watch.peak_bytes is None
    absent = MemoryWatch(tmp_path / "absent")
    absent.look()
    assert absent.peak_bytes is None


def test_a_model_alone_is_told_its_memory_and_models_together_are_not(tmp_path: Path, quick: Settings) -> None:
    paths = [write_model(tmp_path / f"{name}.onnx") for name in "ab"]
    models = tuple(ModelFile(path.stem, path) for path in paths)
    measure_job(Job("onnxruntime", models, settings=quick, group_size=1), tmp_path / "alone.jsonl", lambda event: None)
    measure_job(Job("onnxruntime", models, settings=quick), tmp_path / "both.jsonl", lambda event: None)
    alone = read_results(tmp_path / "alone.jsonl").measurements
    assert all(row.peak_memory_bytes is not None and row.peak_memory_bytes > 0 for row in alone)
    assert [row.peak_memory_bytes for row in read_results(tmp_path / "both.jsonl").measurements] == [None, None]


def test_memory_survives_a_file(make_measurement: Callable[..., Measurement]) -> None:
    told = make_measurement(peak_memory_bytes=123)
    assert Measurement.from_json(told.to_json()) == told
    assert "peak_memory_bytes" not in make_measurement().to_json()
    with pytest.raises(JobError, match="peak_memory_bytes of at least 0"):
        make_measurement(peak_memory_bytes=-1)


def test_power_is_that_of_the_rounds_after_the_first_second(make_measurement: Callable[..., Measurement]) -> None:
    def measured(*conditions: Condition) -> Measurement:
        return make_measurement(sitting=Sitting("s", (0, 1), (300, 2000), None, conditions))

    idle, early = Condition(at_ms=0, power_w=1.0), Condition(at_ms=900, power_w=2.0)
    running = Condition(at_ms=1500, power_w=10.0), Condition(at_ms=2100, power_w=14.0)
    assert measured(idle, early, *running).power_w == 12.0
    assert measured(idle, early).power_w is None
    assert measured(Condition(at_ms=1500)).power_w is None
    assert make_measurement().power_w is None
