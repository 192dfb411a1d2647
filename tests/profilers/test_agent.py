"""The agent on the device: crashes, hangs, kills and resuming."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from profilers.agent import measure_job
from profilers.device_facts import read_facts
from profilers.device_lock import device_lock
from profilers.errors import DeviceBusyError, JobError, RuntimeFailedError
from profilers.job import Job, ModelFile, save_job
from profilers.results import read_results
from profilers.settings import Settings
from profilers.strict_json import loads
from tests.profilers.lifelike_worker import LifelikeRuntime
from tests.profilers.small_models import write_model

HERE = Path(__file__).parent
SETTINGS = Settings(round_ms=1.0, warm_up_ms=1.0, stall_s=2.0)


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that run side by side do not wait for one another."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def make_job(folder: Path, behaviours: dict[str, str], **changes: Any) -> Job:
    models = []
    for id, behaviour in behaviours.items():
        path = folder / f"{id}.onnx"
        path.write_text(f"{behaviour} {id}")
        models.append(ModelFile(id, path))
    return Job(**{"runtime": "fake", "models": tuple(models), "settings": SETTINGS, **changes})


def measure(job: Job, results: Path, **more: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    measure_job(
        job,
        results,
        events.append,
        runtime_named=lambda name: LifelikeRuntime(),
        worker_command=[sys.executable, str(HERE / "lifelike_worker.py")],
        **more,
    )
    return events


def ids(events: list[dict[str, Any]], kind: str, **more: Any) -> list[str]:
    found = [e for e in events if e["event"] == kind and all(e[key] == value for key, value in more.items())]
    return sorted(e["id"] if "id" in e else e["measurement"]["id"] for e in found)


def test_measures_all_models_in_groups(tmp_path: Path) -> None:
    job = make_job(tmp_path, dict.fromkeys("abcde", "steady"), group_size=2, reference="a")
    events = measure(job, tmp_path / "results.jsonl")
    assert ids(events, "measurement", resumed=False) == list("abcde")
    rows = read_results(tmp_path / "results.jsonl").measurements
    assert [row.id for row in rows] == list("abcde")
    assert {row.median_ms for row in rows} == {1.0}
    assert {row.target.key for row in rows} == {rows[0].target.key}
    assert events[0]["event"] == "started"
    assert events[-1] == {"event": "done", "num_measured": 5, "num_failed": 0}


def test_a_runtime_that_compiles_may_take_long_to_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(tmp_path, {"a": "compile"}, settings=replace(SETTINGS, stall_s=0.5))
    with pytest.raises(RuntimeFailedError, match=r"within 0\.5 s"):
        measure(job, tmp_path / "results.jsonl")
    monkeypatch.setattr(LifelikeRuntime, "longest_load_s", 60.0, raising=False)
    assert ids(measure(job, tmp_path / "results.jsonl"), "measurement") == ["a"]


def test_a_crash_costs_only_the_culprit(tmp_path: Path) -> None:
    job = make_job(tmp_path, {"a": "steady", "bad": "crash", "c": "steady"}, reference="a")
    events = measure(job, tmp_path / "results.jsonl")
    assert ids(events, "measurement") == ["a", "c"]
    (failure,) = read_results(tmp_path / "results.jsonl").failures
    assert failure.id == "bad"
    assert f"signal {int(signal.SIGABRT)}" in failure.message
    assert "native code went wrong" in failure.message


def test_a_crashing_reference_spoils_nothing_else(tmp_path: Path) -> None:
    job = make_job(tmp_path, {"bad": "crash", "b": "steady", "c": "steady"}, reference="bad", group_size=2)
    events = measure(job, tmp_path / "results.jsonl")
    assert ids(events, "measurement") == ["b", "c"]
    assert ids(events, "failed") == ["bad"]


def test_a_hang_is_ended_and_named(tmp_path: Path) -> None:
    job = make_job(tmp_path, {"a": "steady", "bad": "hang"})
    events = measure(job, tmp_path / "results.jsonl")
    assert ids(events, "measurement") == ["a"]
    (failed,) = [event for event in events if event["event"] == "failed"]
    assert failed["error"] == "WorkerDiedError"
    assert "hung" in failed["message"]
    assert "'bad'" in failed["message"]


def test_a_refused_run_and_a_missing_file_are_told(tmp_path: Path) -> None:
    job = make_job(tmp_path, {"a": "steady", "bad": "refuse", "gone": "steady", "other": "steady"})
    (tmp_path / "gone.onnx").unlink()
    models = [replace(m, sha256="1" * 64) if m.id == "other" else m for m in job.models]
    events = measure(job.with_models(models), tmp_path / "results.jsonl")
    assert ids(events, "measurement") == ["a"]
    assert ids(events, "failed") == ["bad", "gone", "other"]
    again = measure(job, tmp_path / "results.jsonl")
    assert ids(again, "measurement", resumed=True) == ["a"]
    assert ids(again, "measurement", resumed=False) == ["other"]


def test_nothing_measured_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailedError, match="take time"):
        measure(make_job(tmp_path, {"bad": "refuse"}), tmp_path / "results.jsonl")


def test_finished_rows_are_not_measured_again_unless_something_changed(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    job = make_job(tmp_path, {"a": "steady", "b": "steady"})
    measure(job, results)
    before = results.read_bytes()
    events = measure(job, results)
    assert ids(events, "measurement", resumed=True) == ["a", "b"]
    assert results.read_bytes() == before

    (tmp_path / "b.onnx").write_text("steady but other bytes")
    assert ids(measure(job, results), "measurement", resumed=False) == ["b"]
    slower = replace(job, settings=replace(SETTINGS, min_rounds=7))
    assert ids(measure(slower, results), "measurement", resumed=False) == ["a", "b"]
    assert ids(measure(replace(job, threads=2), results), "measurement", resumed=False) == ["a", "b"]
    assert ids(measure(job, results), "measurement", resumed=False) == []


def test_cpus_that_are_not_there_are_named(tmp_path: Path) -> None:
    job = make_job(tmp_path, {"a": "steady"}, affinity=(100_000,))
    with pytest.raises(JobError, match="100000"):
        measure(job, tmp_path / "results.jsonl")


def test_a_busy_device_is_waited_for_and_then_told(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    job = make_job(tmp_path, {"a": "steady"})
    measure(job, results)
    device = read_results(results).measurements[0].target.device
    events: list[dict[str, Any]] = []
    with device_lock(device, wait_s=0), pytest.raises(DeviceBusyError, match="--wait-seconds"):
        measure_job(job, results, events.append, wait_s=0.1, runtime_named=lambda name: LifelikeRuntime())
    assert [event["event"] for event in events] == ["waiting"]
    with device_lock(device, wait_s=0):
        pass


def test_killed_again_and_again_no_row_is_lost_or_doubled(tmp_path: Path) -> None:
    behaviours = {f"m{index}": "slow" for index in range(8)}
    job_path, results = tmp_path / "job.json", tmp_path / "results.jsonl"
    save_job(make_job(tmp_path, behaviours, group_size=2), job_path)
    told: list[str] = []
    for _ in range(4):
        # Kill after one more row was told, at whatever point of the next one the agent then is.
        agent = start([str(HERE / "lifelike_agent.py"), str(job_path), str(results)])
        assert agent.stdout is not None
        for line in agent.stdout:
            event = loads(line, "event")
            if event["event"] == "measurement" and not event["resumed"]:
                told.append(event["measurement"]["id"])
                break
        end(agent)
        rows = [row.id for row in read_results(results).measurements]
        assert set(told) <= set(rows)
    agent = start([str(HERE / "lifelike_agent.py"), str(job_path), str(results)])
    agent.communicate(timeout=60)
    assert agent.returncode == 0
    counts = Counter(row.id for row in read_results(results).measurements)
    assert counts == dict.fromkeys(behaviours, 1)


def test_a_real_job_killed_20_times_at_random_moments_loses_nothing(tmp_path: Path, quick: Settings) -> None:
    models = tuple(ModelFile(f"m{n}", write_model(tmp_path / f"m{n}.onnx", repeats=n)) for n in range(30))
    job_path, results = tmp_path / "job.json", tmp_path / "results.jsonl"
    # A row takes 10 ms and a group 120 ms, so that rows are finished all the time and most kills meet one half done.
    settings = replace(quick, round_ms=2.0, half_width=0.9)
    save_job(Job("onnxruntime", models, settings=settings, group_size=3), job_path)
    rng, told, before = Random(0), set(), b""  # type: Random, set[str], bytes
    for _ in range(20):
        agent = start(["-m", "profilers", "measure", str(job_path), "--results", str(results)])
        assert agent.stdout is not None
        agent.stdout.readline()  # it has started; its workers have not
        time.sleep(rng.uniform(0.0, 0.5))
        end(agent, told)
        content = results.read_bytes() if results.exists() else b""
        assert content.startswith(before)
        before = content[: content.rfind(b"\n") + 1]
        counts = Counter(row.id for row in read_results(results).measurements)
        assert set(counts.values()) <= {1}
        assert told <= set(counts)
    agent = start(["-m", "profilers", "measure", str(job_path), "--results", str(results)])
    agent.communicate(timeout=60)
    assert agent.returncode == 0
    assert results.read_bytes().startswith(before)
    counts = Counter(row.id for row in read_results(results).measurements)
    assert counts == {model.id: 1 for model in models}


def start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
        encoding="utf-8",
    )


def end(agent: subprocess.Popen[str], told: set[str] | None = None) -> None:
    """Kill it outright, and note what it had told by then."""
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait()
    assert agent.stdout is not None
    for line in agent.stdout:
        event = loads(line, "event") if line.endswith("\n") else {"event": "torn"}
        if told is not None and event["event"] == "measurement":
            told.add(event["measurement"]["id"])
    agent.stdout.close()


HOLDER = """
import sys, time
from profilers.device_facts import read_facts
from profilers.device_lock import device_lock
with device_lock(sys.argv[1], wait_s=60):
    print("held", time.monotonic(), flush=True)
    if sys.argv[2] == "for ever":
        time.sleep(3600)
    time.sleep(0.3)
    print("left", time.monotonic(), flush=True)
"""


def test_two_profilers_wait_for_each_other() -> None:
    both = [start(["-c", HOLDER, "board", "a while"]) for _ in range(2)]
    spans = sorted([float(line.split()[1]) for line in agent.communicate(timeout=60)[0].splitlines()] for agent in both)
    (_, first_left), (second_held, _) = spans
    assert first_left <= second_held


def test_a_holder_that_is_killed_lets_go(tmp_path: Path) -> None:
    job_path, results = tmp_path / "job.json", tmp_path / "results.jsonl"
    save_job(make_job(tmp_path, {"a": "steady"}), job_path)
    holder = start(["-c", HOLDER, read_facts().device, "for ever"])
    assert holder.stdout is not None
    assert holder.stdout.readline().startswith("held")
    agent = start([str(HERE / "lifelike_agent.py"), str(job_path), str(results)])
    assert agent.stdout is not None
    assert loads(agent.stdout.readline(), "event")["event"] == "waiting"
    assert not results.exists()
    end(holder)
    agent.communicate(timeout=60)
    assert agent.returncode == 0
    assert [row.id for row in read_results(results).measurements] == ["a"]
