"""A search on images, killed where it hurts, gives byte for byte the run folder of one that was left in peace."""

import subprocess
import time
from pathlib import Path

import numpy as np

from .tiny_search import PARALLEL, SEARCH, contents, finish, kill_when


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def processes_about(folder: Path) -> list[str]:
    """Command lines of running processes that name a folder."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]


def test_killed_where_it_hurts_it_gives_the_same_run(tmp_path: Path) -> None:
    delay = np.random.default_rng().uniform(0, 0.3)  # another moment in every run of the test
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    finish(undisturbed, *SEARCH, "--out", "run")
    run = killed / "run"

    def adapting() -> bool:
        begun = "adapting the supernet" in (killed / "told.txt").read_text()
        time.sleep(delay if begun else 0)
        return begun

    assert kill_when(killed, adapting, *SEARCH, "--out", "run")
    assert not (run / "archive.jsonl").exists(), "this was to be amid the first adaptation"

    assert kill_when(killed, lambda: num_lines(run / "archive.jsonl") >= 3, "search", "--resume", "run", *PARALLEL)
    assert (run / "workers").exists(), "this was to be amid evaluation by workers"
    for _ in range(100):
        if not processes_about(run / "workers"):
            break
        time.sleep(0.05)
    assert not processes_about(run / "workers")

    def writing() -> bool:
        return any(run.glob("checkpoints/.*002*"))

    assert kill_when(killed, writing, "search", "--resume", "run", "--workers", "1")
    (run / ".archive.jsonl.0123abcd.tmp").write_bytes(b"half")
    finish(killed, "search", "--resume", "run")
    assert contents(run) == contents(undisturbed / "run")
