"""The command `natdeploy search` on few images, in processes that are killed; by hand, at many random moments:

python -m tests.walk.tiny_search --kills 30 --seed 0
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from nat_deploy.cli import app
from nat_deploy.training.worker_processes import num_cores
from nat_deploy.walk.effort import EFFORTS

DEVICES = '[devices.board]\ntransport = "table"\ntarget = "amd-epyc-2c.onnxruntime-1.32.0.fp32.t1.b1"\n'
SEARCH = (
    *("search", "--latency-budget", "4ms", "--device", "board", "--data", "digits", "--max-train", "64", "--effort", "quick"),
    *("--iterations", "1", "--first-epochs", "2", "--further-epochs", "2", "--resolutions", "32", "--finalists", "2"),
)
PARALLEL = ("--workers", str(min(2, num_cores())))
POPULATION_SIZE = 10
# Processes are forked from one that has imported all this, so that most of their time is search.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["nat_deploy.walk.search", "tests.walk.warm_up"])


def run_command(home: Path, arguments: tuple[str, ...]) -> None:
    """The command line in `home`, with smaller steps than any effort has; what it says goes to `told.txt`."""
    os.chdir(home)
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        os.environ[variable] = str(home)
    EFFORTS["quick"] = replace(
        EFFORTS["quick"], initial_size=6, archive_size=8, new_per_iteration=3, population_size=POPULATION_SIZE, generations=3
    )
    with Path("told.txt").open("w") as told:
        os.dup2(told.fileno(), 1)
        os.dup2(told.fileno(), 2)
        sys.stdout = sys.stderr = told
        app.main(arguments)


def start(home: Path, *arguments: str) -> multiprocessing.process.BaseProcess:
    home.mkdir(exist_ok=True)
    (home / "devices.toml").write_text(DEVICES)
    (home / "told.txt").write_text("")
    process = CONTEXT.Process(target=run_command, args=(home, arguments))
    process.start()
    return process


def finish(home: Path, *arguments: str) -> None:
    process = start(home, *arguments)
    process.join()
    assert process.exitcode == 0, (home / "told.txt").read_text()


def kill_when(home: Path, happened: Callable[[], bool], *arguments: str) -> bool:
    """Start the command, kill it once something happened; whether it came to that."""
    process = start(home, *arguments)
    while process.is_alive() and not happened():
        time.sleep(0.001)
    killed = process.is_alive()
    process.kill()
    process.join()
    return killed


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a run; only the request may say where networks are evaluated."""
    found = {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    del found["request.json"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, killed = Path(folder) / "undisturbed", Path(folder) / "killed"
        begun = time.monotonic()
        finish(undisturbed, *SEARCH, "--out", "run")
        duration = time.monotonic() - begun
        print(f"undisturbed: {duration:.1f} s")
        for number in range(1, args.kills + 1):
            end = time.monotonic() + float(rng.uniform(0, 0.8 * duration))
            parallel = PARALLEL if rng.random() < 0.5 else ()
            if (killed / "run" / "summary.json").exists():
                print(f"finished after {number - 1} kills; begun again")
                assert contents(killed / "run") == contents(undisturbed / "run")
                shutil.rmtree(killed)
            begin = ("--resume", "run") if (killed / "run" / "request.json").exists() else (*SEARCH[1:], "--out", "run")
            kill_when(killed, lambda end=end: time.monotonic() > end, "search", *begin, *parallel)  # type: ignore[misc]
        finish(killed, "search", "--resume", "run")
        assert contents(killed / "run") == contents(undisturbed / "run")


if __name__ == "__main__":
    main()
