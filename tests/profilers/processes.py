"""The processes of this package that a test started, found by a folder of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def kill_workers(folder: Path) -> None:
    """Kill every process that times models and has `folder` as its TMPDIR."""
    for pid, command in _running(folder):
        if command[-1:] == ["worker"]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def num_agents(folder: Path) -> int:
    """Count the agents and workers that are left; those that are just ending get a moment."""
    deadline = time.monotonic() + 10
    while True:
        left = [command for _, command in _running(folder) if {"measure", "worker"} & set(command)]
        if not left or time.monotonic() > deadline:
            return len(left)
        time.sleep(0.05)


def _running(folder: Path) -> Iterator[tuple[int, list[str]]]:
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            variables = (place / "environ").read_bytes().split(b"\0")
            command = (place / "cmdline").read_bytes().decode().split("\0")[:-1]
            if f"TMPDIR={folder}".encode() in variables and "profilers" in command:
                yield int(place.name), command
