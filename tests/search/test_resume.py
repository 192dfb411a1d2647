import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import FileFormatError, InputError, MissingError
from nat_deploy.search import RunFolder, SearchSettings, run_search

from .slow_search import SETTINGS, main
from .worlds import SPACE, SyntheticDevice, SyntheticEvaluator

ROOT = Path(__file__).parents[2]
NUM_KILLS = 6


def contents(run: Path) -> dict[str, bytes]:
    """Everything in a run folder that must not depend on kills."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.suffix != ".tmp"
    }


def kill_after(run: Path, seconds: float) -> bool:
    """Start or continue the search in a process, kill it; whether it had finished before."""
    command = [sys.executable, "-m", "tests.search.slow_search", str(run)]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            return process.wait(timeout=seconds) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return False


@pytest.mark.timeout(400)
def test_killed_at_any_moment_it_gives_the_same_run(tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    start = time.monotonic()
    main(undisturbed)
    duration = min(time.monotonic() - start, 5.0)
    rng = np.random.default_rng()  # other moments in every run of the test
    killed = tmp_path / "killed"
    for _ in range(NUM_KILLS):
        if kill_after(killed, float(rng.uniform(0.05, 0.5) * duration)):
            break
    main(killed)
    assert contents(killed) == contents(undisturbed)


def finished_run(path: Path) -> RunFolder:
    settings = replace(SETTINGS, iterations=1)
    folder = RunFolder.create(path, settings, {"space": SPACE.name})
    again(folder)
    return folder


def again(folder: RunFolder) -> None:
    device = SyntheticDevice()
    run_search(SPACE, SyntheticEvaluator(), {"latency_ms": device.predictor()}, {"latency_ms": device.measure}, folder)


def test_a_finished_run_is_only_read_again(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    before = contents(folder.path)
    evaluator = SyntheticEvaluator()
    device = SyntheticDevice()
    run_search(
        SPACE, evaluator, {"latency_ms": device.predictor()}, {"latency_ms": device.measure}, RunFolder.resume(folder.path)
    )
    assert evaluator.num_evaluated == 0
    assert device.num_measured == 0
    assert evaluator.version == 2  # the weights that belong to the result
    assert contents(folder.path) == before


def test_a_half_written_last_line_is_dropped_and_done_again(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    journal = folder.path / "archive.jsonl"
    whole = journal.read_bytes()
    before = contents(folder.path)
    journal.write_bytes(whole[:-30])
    again(RunFolder.resume(folder.path))
    assert contents(folder.path) == before


def test_every_cut_of_the_last_line_leaves_the_lines_before(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    journal = folder.path / "archive.jsonl"
    whole = journal.read_bytes()
    records = folder.evaluations.read()
    last = len(whole) - whole.rstrip(b"\n").rfind(b"\n") - 1
    for cut in range(1, last, 17):
        journal.write_bytes(whole[:-cut])
        assert folder.evaluations.read() == records[:-1]


@pytest.mark.parametrize("line", [0, 5])
def test_a_changed_line_is_refused_with_its_number(tmp_path: Path, line: int) -> None:
    folder = finished_run(tmp_path / "run")
    journal = folder.path / "archive.jsonl"
    lines = journal.read_text().splitlines()
    record = json.loads(lines[line])
    record["error_percent"] -= 10
    lines[line] = json.dumps(record)
    journal.write_text("\n".join(lines) + "\n")
    with pytest.raises(FileFormatError, match=f"line {line + 1} of .*checksum"):
        again(RunFolder.resume(folder.path))


@pytest.mark.parametrize("name", ["iterations/000.json", "iterations/001.json", "run.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"iteration": 0}', "null"])
def test_other_broken_files_are_refused_with_a_sentence(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / "run"
    RunFolder.create(path, SETTINGS, {})
    for iteration in ("iterations/000.json", name):
        (path / iteration).write_text(content)
    with pytest.raises(FileFormatError, match=r"run\.json|00[01]\.json"):
        again(RunFolder.resume(path))


def test_a_lost_checkpoint_is_named(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    (folder.path / "checkpoints" / "002").unlink()
    with pytest.raises(FileFormatError, match=r"checkpoint '.*002' must be there"):
        again(RunFolder.resume(folder.path))


def test_resuming_with_other_settings_names_the_difference(tmp_path: Path) -> None:
    path = tmp_path / "run"
    RunFolder.create(path, SETTINGS, {"space": SPACE.name})
    assert RunFolder.resume(path).settings == SETTINGS
    assert RunFolder.resume(path, SETTINGS, {"space": SPACE.name}).settings == SETTINGS
    with pytest.raises(InputError, match=r"seed was 0 and is now 7"):
        RunFolder.resume(path, replace(SETTINGS, seed=7))
    with pytest.raises(InputError, match=r"space was 'ofa-mbv3-w0\.35' and is now 'other'"):
        RunFolder.resume(path, SETTINGS, {"space": "other"})


def test_unknown_or_bad_settings_in_the_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    RunFolder.create(path, SETTINGS, {})
    document = json.loads((path / "run.json").read_text())
    document["settings"]["speed"] = 3
    (path / "run.json").write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match="speed"):
        RunFolder.resume(path)


def test_a_folder_in_use_and_a_missing_run_are_refused(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", SearchSettings(), {})
    with pytest.raises(InputError, match="must not hold a run yet"):
        RunFolder.create(tmp_path / "run", SearchSettings(), {})
    with pytest.raises(MissingError):
        RunFolder.resume(tmp_path / "nowhere")
