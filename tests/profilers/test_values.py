"""Targets, settings, jobs and facts: what they refuse, and how they are written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profilers.device_facts import CpuTimes, DeviceFacts, read_facts, steal_share, warnings_of
from profilers.errors import JobError
from profilers.job import Job, ModelFile, load_job, save_job
from profilers.settings import Settings
from profilers.strict_json import loads
from profilers.target import Target

TARGET = Target("AMD EPYC (2c)", "onnxruntime", "1.31.0", "fp32", threads=1)


def test_target_keys() -> None:
    assert TARGET.key == "amd-epyc-2c.onnxruntime-1.31.0.fp32.t1.b1"
    other = replace(TARGET, power_mode="15 W", precision="int8", threads=4, batch_size=8)
    assert other.key == "amd-epyc-2c.onnxruntime-1.31.0.int8.t4.15-w.b8"
    assert Target.from_json(other.to_json()) == other


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"precision": "fp64"}, "fp32, fp16, int8"),
        ({"threads": 0}, "threads"),
        ({"threads": True}, "threads"),
        ({"threads": 1.5}, "threads"),
        ({"batch_size": "1"}, "batch_size"),
        ({"device": "()"}, "device"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_targets_are_read_strictly(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(JobError, match=sentence):
        Target.from_json({**TARGET.to_json(), **change})


def test_a_missing_key_is_named() -> None:
    document = TARGET.to_json()
    del document["runtime"]
    with pytest.raises(JobError, match="'runtime'"):
        Target.from_json(document)
    with pytest.raises(JobError, match="object"):
        Target.from_json([1, 2])


@pytest.mark.parametrize("text", ["{", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000])
def test_json_is_read_strictly(text: str) -> None:
    with pytest.raises(JobError):
        loads(text, "text")


@pytest.mark.parametrize(
    "change",
    [{"round_ms": 0}, {"half_width": -1.0}, {"cap_s": "1"}, {"min_rounds": 4}, {"min_runs": 0}, {"x": 1}],
)
def test_settings_are_read_strictly(change: dict[str, Any]) -> None:
    with pytest.raises(JobError):
        Settings.from_json({**Settings().to_json(), **change})
    assert Settings.from_json({"round_ms": 7}) == Settings(round_ms=7.0)


def test_jobs_survive_their_file_and_relative_paths_count_from_it(tmp_path: Path) -> None:
    models = (ModelFile("a", "sub/a.onnx"), ModelFile("b", "/abs/b.onnx", "0" * 64))
    job = Job("onnxruntime", models, threads=2, affinity=(0, 1), reference="b", seed=3)
    save_job(job, tmp_path / "job.json")
    loaded = load_job(tmp_path / "job.json")
    assert loaded.models[0].path == tmp_path / "sub/a.onnx"
    assert replace(loaded, models=models) == job
    with pytest.raises(JobError, match="nothing"):
        load_job(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"models": ()}, "at least one"),
        ({"models": (ModelFile("a", "x"), ModelFile("a", "y"))}, "'a' comes twice"),
        ({"reference": "z"}, "'z'"),
        ({"affinity": (0,), "threads": 2}, "each of the 2"),
        ({"affinity": (0, 0)}, "CPU"),
        ({"affinity": ("0",)}, "CPU numbers"),
        ({"precision": "bf16"}, "bf16"),
        ({"group_size": 0}, "group_size"),
        ({"seed": -1}, "seed"),
        ({"runtime": ""}, "runtime"),
    ],
)
def test_jobs_refuse_what_cannot_be_measured(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(JobError, match=sentence):
        Job(**{"runtime": "onnxruntime", "models": (ModelFile("a", "a.onnx"),), **change})


FILES = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Cortex-A76\ncpu MHz\t\t: 1500.5\n",
    "proc/loadavg": "1.25 0.5 0.1 1/100 4242",
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable:    2048000 kB\n",
    "proc/stat": "cpu  10 0 20 60 5 0 3 2 0 0\ncpu0 1 1 1\n",
    "proc/self/cgroup": "0::/user/box\n",
    "sys/fs/cgroup/user/cpu.max": "50000 100000",
    "sys/fs/cgroup/user/box/cpu.max": "max 100000",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
    "sys/devices/system/cpu/cpufreq/boost": "0\n",
    "sys/class/thermal/thermal_zone0/temp": "41500\n",
    "sys/class/thermal/thermal_zone1/temp": "-274000\n",
}


@pytest.fixture
def board(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_facts_of_a_board(board: Path) -> None:
    facts = replace(read_facts("onnxruntime", "1.31.0", root=board), num_cores=4)
    assert facts.device == "raspberry-pi-5-model-b-rev-1-0"
    assert (facts.cpu_model, facts.governor, facts.turbo, facts.cpu_mhz) == (
        "Cortex-A76",
        "powersave",
        False,
        2400,
    )
    assert (facts.load_average, facts.free_ram_mb, facts.temperature_c) == (1.25, 2000, 41.5)
    assert facts.cpu_quota_cores == 0.5
    assert [warning.kind for warning in warnings_of(facts)] == ["governor", "cgroup_quota"]
    assert DeviceFacts.from_json(facts.to_json()) == facts


def test_the_older_control_groups(board: Path) -> None:
    (board / "proc/self/cgroup").write_text("5:cpu,cpuacct:/box\n2:memory:/box\n")
    folder = board / "sys/fs/cgroup/cpu/box"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("150000")
    (folder / "cpu.cfs_period_us").write_text("100000")
    (folder.parent / "cpu.cfs_quota_us").write_text("-1")
    assert read_facts(root=board).cpu_quota_cores == 1.5


def test_a_device_that_tells_nothing(tmp_path: Path) -> None:
    facts = read_facts(root=tmp_path)
    assert (facts.board, facts.governor, facts.cpu_quota_cores) == (None, None, None)
    assert facts.device
    assert CpuTimes.read(tmp_path) is None
    assert steal_share(None, CpuTimes(1, 0)) is None


def test_the_host_name_is_not_recorded() -> None:
    import platform

    assert platform.node() not in read_facts().to_json().values()


def test_steal_time_is_a_share_of_a_span(board: Path) -> None:
    before = CpuTimes.read(board)
    assert before == CpuTimes(total=100, steal=2, busy=33)
    share = steal_share(before, CpuTimes(total=300, steal=12))
    assert share == pytest.approx(0.05)
    (warning,) = warnings_of(replace(read_facts(), governor=None, cpu_quota_cores=None, steal_share=share))
    assert warning.kind == "steal_time"
    assert "5.0%" in warning.message
