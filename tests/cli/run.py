"""Runs the command line in a process of its own, as a user does."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "from nat_deploy.cli.app import main; main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What a user reads after an error: one line, and never a traceback."""
        assert "Traceback" not in self.err, self.err
        assert self.out == "", self.out
        return self.err.strip().splitlines()[-1]


def natdeploy(*arguments: str | Path, cwd: Path, timeout_s: float = 280) -> Outcome:
    """The command with its own home, so that no file of this user's is read or written."""
    environment = {**os.environ, "HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd / ".config"), "XDG_DATA_HOME": str(cwd / ".data")}
    environment.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)
