"""Samples of clock, heat, throttling, pauses and other processes; what they warn of, and that nothing is invented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from profilers.conditions import (
    Condition,
    ConditionRecorder,
    CpuSampler,
    condition_warnings,
    cores_of_others,
    sampler_of,
    samples_from_json,
    samples_to_json,
    share_paused,
)
from profilers.device_facts import read_facts, warnings_of
from profilers.errors import JobError
from profilers.measurement import Measurement
from profilers.runtimes import open_runtime
from profilers.sitting import Part, Sitting

FILES = {
    "proc/stat": "cpu  100 0 200 600 50 0 30 20 0 0\n",
    "proc/cpuinfo": "processor : 0\ncpu MHz : 1500.5\n",
    "proc/self/cgroup": "0::/user/box\n",
    "sys/fs/cgroup/user/cpu.stat": "usage_usec 5\nnr_throttled 2\nthrottled_usec 7000\n",
    "sys/fs/cgroup/user/box/cpu.stat": "usage_usec 5\nthrottled_usec 3000\n",
    "sys/class/thermal/thermal_zone0/temp": "41500\n",
    "sys/class/thermal/thermal_zone1/temp": "0\n",
}


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    for cpu in (0, 1):
        write(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", f"{2000 + 100 * cpu}000\n")
        write(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count", f"{3 + cpu}\n")
    for name, text in FILES.items():
        write(tmp_path, name, text)
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_a_board_is_read(board: Path) -> None:
    sampler = CpuSampler(board)
    sample = sampler.sample()
    assert (sample.clock_mhz, sample.temperature_c, sample.num_throttled) == (2100.0, 41.5, 7.0)
    assert sample.paused_ms == pytest.approx(10.0)
    assert sample.stolen_ms == 200.0
    assert sample.others_ms is not None
    assert sample.others_ms < 3300.0  # 330 ticks were busy, some of them ours


def test_an_older_kernel_and_a_raspberry_are_read(board: Path) -> None:
    write(board, "proc/self/cgroup", "5:cpu,cpuacct:/box\n")
    write(board, "sys/fs/cgroup/cpu/box/cpu.stat", "nr_throttled 1\nthrottled_time 4000000\n")
    write(board, "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    (board / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").unlink()
    (board / "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq").unlink()
    sampler = CpuSampler(board)
    first, second = sampler.sample(), sampler.sample()
    assert first.paused_ms == pytest.approx(4.0)
    assert first.clock_mhz == 1500.5
    assert first.num_throttled is not None
    assert second.num_throttled == first.num_throttled + 1  # low voltage now; the higher bits are the past


def test_where_nothing_can_be_read_nothing_is_told(tmp_path: Path) -> None:
    samples = (CpuSampler(tmp_path).sample(), replace(CpuSampler(tmp_path).sample(), at_ms=5000))
    assert samples == (Condition(), Condition(at_ms=5000))
    assert list(condition_warnings(samples, num_cores=4)) == []
    assert (share_paused(samples), cores_of_others(samples)) == (None, None)
    assert samples_to_json(samples) == {"at_ms": [0, 5000]}


def test_this_machine_is_read_and_files_that_vanish_are_unknown(board: Path) -> None:
    assert CpuSampler().sample().at_ms == 0
    sampler = CpuSampler(board)
    for name in FILES:
        (board / name).unlink()
    assert sampler.sample().paused_ms is None


def series(**columns: Sequence[float]) -> list[Condition]:
    rows = zip(*columns.values(), strict=True)
    return [Condition(at_ms=1000 * at, **dict(zip(columns, row, strict=True))) for at, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("samples", "kinds"),
    [
        (series(clock_mhz=[2000, 1990, 2000]), []),
        (series(clock_mhz=[2000, 1900, 2000]), ["clock_varied"]),
        (series(clock_mhz=[2000, 1000]), []),  # two samples are no state
        (series(clock_mhz=[2000] * 30 + [1000]), []),  # one odd reading of many
        (series(num_throttled=[7, 7, 7]), []),
        (series(num_throttled=[7, 7, 9]), ["throttled"]),
        (series(temperature_c=[50, 55, 58]), []),
        (series(temperature_c=[50, 55, 62]), ["temperature"]),
        (series(temperature_c=[86, 86, 86]), ["temperature"]),
        (series(others_ms=[0, 400, 800]), []),
        (series(others_ms=[0, 1000, 3000]), ["load"]),
    ],
)
def test_what_is_warned_of(samples: list[Condition], kinds: list[str]) -> None:
    assert [warning.kind for warning in condition_warnings(samples, num_cores=4)] == kinds


def test_a_quota_that_never_paused_anyone_is_not_warned_of() -> None:
    facts = replace(read_facts(), governor=None, steal_share=None, cpu_quota_cores=1.5, num_cores=4)
    assert [warning.kind for warning in warnings_of(facts)] == ["cgroup_quota"]
    assert warnings_of(facts, share_paused=share_paused(series(paused_ms=[5, 5]))) == ()
    (warning,) = warnings_of(facts, share_paused=share_paused(series(paused_ms=[5, 105])))
    assert "10.0% of the time" in warning.message


class Sampler:
    """Counts how often it was asked, and takes as long as told."""

    def __init__(self) -> None:
        self.now_s, self.num_asked, self.cost_s = 100.0, 0, 0.0

    def clock(self) -> float:
        return self.now_s

    def sample(self) -> Condition:
        self.num_asked += 1
        self.now_s += self.cost_s
        return Condition(clock_mhz=2000.0, num_throttled=40.0 + self.num_asked)


def test_samples_are_taken_ten_times_a_second_at_most() -> None:
    sampler = Sampler()
    recorder = ConditionRecorder(sampler, clock=sampler.clock)
    for _ in range(1000):
        recorder.observe()
        sampler.now_s += 0.01
    assert 90 <= sampler.num_asked <= 101
    samples = recorder.samples()
    assert (samples[0].at_ms, samples[-1].at_ms) == (0, 10_000)
    assert samples[0].num_throttled == 0
    assert samples[-1].num_throttled == sampler.num_asked - 1


def test_a_long_sitting_and_a_slow_sampler_are_sampled_less() -> None:
    sampler = Sampler()
    recorder = ConditionRecorder(sampler, clock=sampler.clock)
    for _ in range(20_000):
        recorder.observe()
        sampler.now_s += 0.1
    samples = recorder.samples()
    assert len(samples) <= 256
    assert samples[-1].at_ms == 2_000_000
    steps = [after.at_ms - before.at_ms for before, after in pairwise(samples)]
    assert max(steps[:-1]) <= 2 * min(steps[:-1])

    slow = Sampler()
    slow.cost_s = 0.05
    recorder = ConditionRecorder(slow, clock=slow.clock)
    for _ in range(1000):
        recorder.observe()
        slow.now_s += 0.01
    assert slow.num_asked * slow.cost_s < 0.03 * (slow.now_s - 100)


def test_a_runtime_may_bring_its_own() -> None:
    class WithSampler:
        def open_sampler(self) -> Sampler:
            return Sampler()

    assert isinstance(sampler_of(WithSampler()), Sampler)
    assert isinstance(sampler_of(open_runtime("onnxruntime")), CpuSampler)


@pytest.mark.parametrize(
    "document",
    [
        {"at_ms": [0, 1], "clock_mhz": [1.0]},
        {"at_ms": [0.5]},
        {"at_ms": [True]},
        {"at_ms": [0], "clock_mhz": ["fast"]},
        {"at_ms": [0], "clock_mhz": [True]},
        {"at_ms": [0], "colour": [1]},
        {"at_ms": 0},
        [],
    ],
)
def test_columns_are_read_strictly(document: object) -> None:
    with pytest.raises(JobError):
        samples_from_json(document)


def test_samples_survive_their_record(make_measurement: Callable[..., Measurement]) -> None:
    samples = tuple(series(clock_mhz=[2000.0, 2100.0], others_ms=[0.0, 12.5]))
    assert samples_from_json(samples_to_json(samples)) == samples
    assert samples_from_json({}) == ()
    sitting = Sitting(
        id="s", passes=(0, 3), starts_ms=(0, 900), reference_ms=1.5, conditions=samples, parts=(Part("gpu", (700, 800)),)
    )
    row = make_measurement(sitting=sitting)
    assert Measurement.from_json(row.to_json()) == row


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"passes": [0]},
        {"passes": [1, 1]},
        {"passes": [-1, 2]},
        {"passes": [0, 1.5]},
        {"starts_ms": [0, True]},
        {"reference_ms": 0.0},
        {"passes": [0, 1, 2], "starts_ms": [0, 1, 2]},  # one round more than were timed
        {"parts_ns": {"gpu": [700]}},
        {"parts_ns": {"gpu": [700, -1]}},
        {"parts_ns": {"gpu": [700, 0.5]}},
        {"parts_ns": {"gpu": 700}},
        {"parts_ns": {"": [700, 800]}},
        {"mood": "good"},
    ],
)
def test_sittings_that_do_not_add_up_are_refused(make_measurement: Callable[..., Measurement], change: dict[str, Any]) -> None:
    sitting = Sitting(id="s", passes=(0, 1), starts_ms=(0, 9), reference_ms=None, conditions=())
    document = make_measurement(sitting=sitting).to_json()
    with pytest.raises(JobError):
        Measurement.from_json({**document, "sitting": {**document["sitting"], **change}})
