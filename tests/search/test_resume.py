import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import FileFormatError, InputError, MissingError
from nat_deploy.search import LatencyMeasurement, Measure, RunFolder, SearchSettings, run_search
from nat_deploy.search import journal as journal_module
from nat_deploy.search import run_folder as run_folder_module
from nat_deploy.spaces import Architecture

from .slow_search import SETTINGS, main, make_devices
from .worlds import SPACE, SyntheticDataSets, SyntheticDevice, SyntheticEvaluator

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


class Killed(BaseException):
    """The process ends here."""


SMALL = replace(
    SETTINGS, iterations=2, initial_size=8, archive_size=10, new_per_iteration=4, generations=2, surrogates=("additive",)
)


def search(folder: RunFolder, *, evaluator: SyntheticEvaluator | None = None) -> list[str]:
    """Run or continue with two devices; the sittings that were measured for it, in order."""
    devices, asked = make_devices(), []

    def listening(name: str, device: SyntheticDevice) -> Measure:
        def measure(architectures: Sequence[Architecture], *, sitting: str, exact: bool) -> Sequence[LatencyMeasurement]:
            asked.append(f"{name} {sitting}")
            return device.measure(architectures, sitting=sitting, exact=exact)

        return measure

    run_search(
        SPACE,
        evaluator or SyntheticEvaluator(),
        {name: device.predictor() for name, device in devices.items()},
        {name: listening(name, device) for name, device in devices.items()},
        folder,
    )
    return asked


def die_at_the_second_write(monkeypatch: pytest.MonkeyPatch, *, amid: bool) -> None:
    """Let the search write one more record or file; at the next the process ends, before it or amid it."""
    num_written = 0
    append, write = journal_module.append_line, run_folder_module.write_atomically

    def count() -> bool:
        nonlocal num_written
        num_written += 1
        return num_written > 1

    def append_or_die(path: Path, line: str) -> None:
        if count():
            with path.open("ab") as file:
                file.write(line.encode()[: len(line) // 2] if amid else b"")
            raise Killed
        append(path, line)

    def write_or_die(path: Path, content: bytes | str) -> None:
        if count():
            raise Killed
        write(path, content)

    monkeypatch.setattr(journal_module, "append_line", append_or_die)
    monkeypatch.setattr(run_folder_module, "write_atomically", write_or_die)


def test_killed_after_each_write_it_gives_the_same_run_with_two_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = RunFolder.create(tmp_path / "undisturbed", SMALL, {})
    assert len(search(undisturbed)) >= 8
    killed = RunFolder.create(tmp_path / "killed", SMALL, {})
    num_kills = 0
    while killed.read_result() is None:
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            die_at_the_second_write(patch, amid=num_kills % 2 == 0)
            num_kills += 1
            search(RunFolder.resume(killed.path))
    assert num_kills > 40
    search(RunFolder.resume(killed.path))
    assert contents(killed.path) == contents(undisturbed.path)


def test_killed_after_each_write_it_gives_the_same_run_with_three_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also between the adaptations of two supernets: a checkpoint is one of the writes."""
    names = ("a", "b", "c")
    settings = replace(SMALL, objectives=(*SyntheticDataSets(names).supernets, "macs"), budgets=())

    def search_again(folder: RunFolder) -> None:
        run_search(SPACE, SyntheticDataSets(names), {}, {}, folder)

    undisturbed = RunFolder.create(tmp_path / "undisturbed", settings, {})
    search_again(undisturbed)
    assert {path.name for path in (undisturbed.path / "checkpoints").iterdir()} == set(names)
    killed = RunFolder.create(tmp_path / "killed", settings, {})
    save = SyntheticEvaluator.save
    num_kills = 0
    while killed.read_result() is None:
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            num_saved = 0

            def save_or_die(supernet: SyntheticEvaluator, path: Path) -> None:
                nonlocal num_saved
                num_saved += 1
                if num_saved > 1:
                    path.write_text("half")
                    raise Killed
                save(supernet, path)

            die_at_the_second_write(patch, amid=num_kills % 2 == 0)
            patch.setattr(SyntheticEvaluator, "save", save_or_die)
            num_kills += 1
            search_again(RunFolder.resume(killed.path))
    assert num_kills > 30
    search_again(RunFolder.resume(killed.path))
    assert contents(killed.path) == contents(undisturbed.path)


def test_a_resumed_search_measures_only_what_is_missing(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SMALL, {})
    asked = search(folder)
    before = contents(folder.path)
    (folder.path / "finalists.json").unlink()
    journal = folder.sittings.path
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-2]))
    assert search(RunFolder.resume(folder.path)) == asked[-2:]
    assert contents(folder.path) == before


def test_each_step_knows_the_sittings_before_it_and_no_later_ones(tmp_path: Path) -> None:
    """Iterations that are done again beside a whole journal choose what they chose when it was short."""
    folder = RunFolder.create(tmp_path / "run", replace(SMALL, adapt=False), {})
    search(folder)
    before = contents(folder.path)
    for path in (folder.path / "iterations").glob("00[12]*"):
        path.unlink()
    (folder.path / "finalists.json").unlink()
    assert search(RunFolder.resume(folder.path)) == []
    assert contents(folder.path) == before


def finished_run(path: Path) -> RunFolder:
    settings = replace(SETTINGS, iterations=1)
    folder = RunFolder.create(path, settings, {"space": SPACE.name})
    search(folder)
    return folder


def test_a_finished_run_is_only_read_again(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    before = contents(folder.path)
    evaluator = SyntheticEvaluator()
    assert search(RunFolder.resume(folder.path), evaluator=evaluator) == []
    assert evaluator.num_evaluated == 0
    assert evaluator.version == 2  # the weights that belong to the result
    assert contents(folder.path) == before


def test_a_half_written_last_line_is_dropped_and_done_again(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    journal = folder.path / "archive.jsonl"
    whole = journal.read_bytes()
    before = contents(folder.path)
    journal.write_bytes(whole[:-30])
    search(RunFolder.resume(folder.path))
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
    record["errors_percent"][0] -= 10
    lines[line] = json.dumps(record)
    journal.write_text("\n".join(lines) + "\n")
    with pytest.raises(FileFormatError, match=f"line {line + 1} of .*checksum"):
        search(RunFolder.resume(folder.path))


@pytest.mark.parametrize("name", ["iterations/000.json", "iterations/001.json", "run.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"iteration": 0}', "null"])
def test_other_broken_files_are_refused_with_a_sentence(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / "run"
    RunFolder.create(path, SETTINGS, {})
    for iteration in ("iterations/000.json", name):
        (path / iteration).write_text(content)
    with pytest.raises(FileFormatError, match=r"run\.json|00[01]\.json"):
        search(RunFolder.resume(path))


def test_a_lost_checkpoint_is_named(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    (folder.path / "checkpoints" / "002").unlink()
    with pytest.raises(FileFormatError, match=r"checkpoint '.*002' must be there"):
        search(RunFolder.resume(folder.path))


def test_what_a_kill_left_among_the_checkpoints_goes(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    checkpoints = folder.path / "checkpoints"
    for name in ("001", ".003.tmp", "..003.tmp.0123abcd.tmp"):
        (checkpoints / name).write_text("half")
    RunFolder.resume(folder.path)
    assert [path.name for path in checkpoints.iterdir()] == ["002"]


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
