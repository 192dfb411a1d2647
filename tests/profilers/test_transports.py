"""Jobs through the local transport and the command line, with a real runtime."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import profilers
from profilers.errors import (
    ModelFileError,
    RuntimeFailedError,
    RuntimeNotInstalledError,
    TransportError,
    WorkerDiedError,
)
from profilers.job import save_job
from profilers.settings import Settings
from profilers.transports.local import LocalTransport
from tests.contracts.transport_contract import TransportCase, TransportContract
from tests.profilers.onnxruntime_case import transport_case
from tests.profilers.small_models import write_model


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


class TestLocal(TransportContract):
    @pytest.fixture
    def case(self, tmp_path: Path, quick: Settings) -> TransportCase:
        return transport_case(profilers.open_transport({"transport": "local"}), tmp_path, quick)


@pytest.fixture
def job(tmp_path: Path, quick: Settings) -> profilers.Job:
    models = [
        profilers.ModelFile(name, write_model(tmp_path / f"{name}.onnx", repeats=count))
        for count, name in enumerate(["b", "a", "c"])
    ]
    (tmp_path / "bad.onnx").write_bytes(b"garbage")
    models.insert(1, profilers.ModelFile("bad", tmp_path / "bad.onnx"))
    return profilers.Job(runtime="onnxruntime", models=tuple(models), settings=quick, reference="a")


def test_replay_gives_the_recorded_times(tmp_path: Path, job: profilers.Job) -> None:
    local = profilers.open_transport({"transport": "local"})
    recorded = local.run_job(job, results_path=tmp_path / "results.jsonl")
    again = profilers.Job(runtime=f"replay:{tmp_path / 'results.jsonl'}", models=job.models, settings=job.settings)
    first = local.run_job(again, results_path=tmp_path / "first.jsonl")
    second = local.run_job(again, results_path=tmp_path / "second.jsonl")
    assert [row.rounds for row in first] == [row.rounds for row in second]
    assert {row.target.runtime for row in first} == {"replay"}
    assert len(first) == len(recorded) == 3


def test_noise_is_measured_by_the_agent() -> None:
    noise = profilers.open_transport({"transport": "local"}).noise(seconds=0.2)
    assert profilers.Noise.from_json(noise.to_json()) == noise
    with pytest.raises(profilers.JobError, match="variation"):
        profilers.Noise.from_json({**noise.to_json(), "variation": "much"})
    with pytest.raises(TransportError, match="JSON objects"):
        LocalTransport(agent=("-c", "print(1)")).noise(seconds=0.2)


def test_errors_keep_their_class(tmp_path: Path, job: profilers.Job) -> None:
    local = profilers.open_transport({"transport": "local"})
    with pytest.raises(RuntimeNotInstalledError, match="warpspeed"):
        local.facts(runtime="warpspeed")
    with pytest.raises(RuntimeFailedError, match="must"):
        local.run_job(job.with_models([job.models[1]]), results_path=tmp_path / "r.jsonl")
    with pytest.raises(profilers.JobError, match="results file"):
        local.run_job(job, results_path=tmp_path)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"transport": "ssh"}, "needs 'host'"),
        ({"transport": "ssh", "host": "jetson", "colour": "red"}, "'colour' came"),
        ({"transport": "adb", "host": "x"}, "takes serial, tool, but 'host' came"),
        ({"transport": "pigeon"}, "pigeon"),
        ({}, "None"),
        ({"transport": "local", "host": "x"}, "host"),
    ],
)
def test_other_transports_say_what_to_do(spec: dict[str, str], sentence: str) -> None:
    with pytest.raises(TransportError, match=sentence):
        profilers.open_transport(spec)


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="no-such-python"):
        profilers.open_transport({"transport": "local", "python": str(tmp_path / "no-such-python")}).facts()


def test_an_agent_that_dies_is_told_with_its_last_words(tmp_path: Path, job: profilers.Job) -> None:
    script = "import sys; print('it was like this', file=sys.stderr); sys.exit(7)"
    with pytest.raises(WorkerDiedError, match=r"exit status 7\): it was like this"):
        LocalTransport(agent=("-c", script)).run_job(job, results_path=tmp_path / "r.jsonl")


def test_a_job_that_takes_too_long_is_ended_with_all_its_processes(tmp_path: Path, job: profilers.Job) -> None:
    script = (
        "import json, subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)']);"
        "print(json.dumps({'event': 'child', 'pid': child.pid}), flush=True); time.sleep(3600)"
    )
    events: list[dict[str, Any]] = []
    with pytest.raises(WorkerDiedError, match="after 2 s"):
        LocalTransport(agent=("-c", script)).run_job(job, results_path=tmp_path / "r.jsonl", on_event=events.append, timeout_s=2)
    assert is_gone(events[0]["pid"])


def test_an_interrupt_ends_the_agent(tmp_path: Path, job: profilers.Job) -> None:
    script = "import json, os, time; print(json.dumps({'event': 'me', 'pid': os.getpid()}), flush=True);time.sleep(3600)"
    pids: list[int] = []

    def interrupt(event: dict[str, Any]) -> None:
        pids.append(event["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalTransport(agent=("-c", script)).run_job(job, results_path=tmp_path / "r.jsonl", on_event=interrupt)
    assert is_gone(pids[0])


def is_gone(pid: int) -> bool:
    """Say whether a process has ended; one that nobody has waited for yet counts as ended."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(500):
        try:
            if stat.read_text().rsplit(")", 1)[1].split()[0] in "ZX":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)  # a busy machine takes a while to end it
    return False


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "profilers", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=Path(__file__).parents[2],
        )

    return run


Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_command_line_measures(tmp_path: Path, job: profilers.Job, command: Command) -> None:
    save_job(job, tmp_path / "job.json")
    done = command("measure", tmp_path / "job.json", "--results", tmp_path / "r.jsonl")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["event"] == "started"
    assert events[-1] == {"event": "done", "num_measured": 3, "num_failed": 1}


def test_the_command_line_fails_in_one_sentence(tmp_path: Path, command: Command) -> None:
    failed = command("measure", tmp_path / "no-job.json", "--results", tmp_path / "r.jsonl")
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "no-job.json" in failed.stderr
    wrong = command("measure")
    assert wrong.returncode == 2
    assert command().returncode == 2
    assert command("--help").returncode == 0


def test_facts_and_noise_are_one_document(command: Command) -> None:
    facts = json.loads(command("facts", "--runtime", "onnxruntime", "--json").stdout)
    assert profilers.Target.from_json(facts["target"]).runtime == "onnxruntime"
    assert "target" in command("facts", "--runtime", "onnxruntime").stdout
    noise = json.loads(command("noise", "--seconds", "0.3", "--json").stdout)
    assert noise["verdict"] in ("quiet", "usable", "noisy")


def test_inference_for_parity_checks(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        profilers.open_runtime("onnxruntime").load(tmp_path / "none.onnx")
