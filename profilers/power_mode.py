"""Power modes of Jetson boards: which one is active, and another for the time of a job.

The mode caps cores, clocks and watts, so latencies compare only within one. `nvpmodel -q` tells it, `/etc/nvpmodel.conf` names all
of them, `nvpmodel -m` sets one and needs root. Whoever changes the mode starts a guard first: a process of its own that puts the
mode back when the other end of its standard input is closed, which the system does for any process that ends. Should the guard be
killed too, a note is left for the next job. Source: NVIDIA's Jetson Linux Developer Guide, "Supported Modes and Power Efficiency".
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from profilers.errors import JobError
from profilers.package import package_environment
from profilers.strict_json import dumps, loads
from profilers.target import slug

DEFAULT = "default"  # whatever mode the device is in
_ANSWER_S = 60.0
_NOTE_S = 30.0  # a guard at work is done sooner


@dataclass(frozen=True)
class PowerMode:
    """One mode of this board; the same name has other numbers on other boards, so both are kept."""

    id: int
    name: str

    @property
    def label(self) -> str:
        """How targets name it: "2-15w"."""
        return slug(f"{self.id} {self.name}")

    def is_called(self, text: str) -> bool:
        """Say whether a user means this mode: by number, by name or by both."""
        return text.strip() == str(self.id) or slug(text) in (slug(self.name), self.label)


@dataclass(frozen=True)
class PowerModeTool:
    """The program `nvpmodel`, and the files beside it."""

    program: str
    modes_file: Path = Path("/etc/nvpmodel.conf")
    note: Path = Path("~/.cache/natdeploy/power_mode.json")

    def active(self) -> PowerMode | None:
        """Ask which mode is active; None when the tool does not say."""
        for sudo in ([], ["sudo", "-n"]):  # older releases answer only root
            # A name, then its number in a line of its own; warnings may stand before.
            found = re.search(
                r"NV Power Mode\s*:\s*(\S.*?)\s*\n\s*(\d+)\s*$", self._run([*sudo, self.program, "-q"]), re.MULTILINE
            )
            if found:
                return PowerMode(int(found.group(2)), found.group(1))
        return None

    def modes(self) -> list[PowerMode]:
        """All modes of this board."""
        try:
            text = self.modes_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [PowerMode(int(id), name) for id, name in re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=([^\s>]+)", text)]

    def set(self, mode: PowerMode) -> None:
        """Change the mode.

        Raises:
            JobError: The board is in another mode afterwards.
        """
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        words = self._run([*sudo, self.program, "-m", str(mode.id)]).strip().rsplit("\n", 1)[-1][:200]
        active = self.active()
        if active is None or active.id != mode.id:
            raise JobError(
                f"the device must change to power mode {mode.label!r}, but it stays in {active and active.label!r} ({words}); allow "
                f"'sudo -n nvpmodel' for this user, or set it by hand with 'sudo nvpmodel -m {mode.id}', which may ask for a reboot."
            )

    def _run(self, command: list[str]) -> str:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,  # it may ask whether to reboot
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_ANSWER_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return done.stdout.decode("utf-8", "replace")


def find_power_mode_tool() -> PowerModeTool | None:
    """Return the tool of this device, or None where there are no power modes."""
    # Commands over SSH often run without the folders of the administrator.
    program = shutil.which("nvpmodel", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    return None if program is None else PowerModeTool(program)


def active_power_mode() -> str | None:
    """Label of the active mode; None where there are no power modes."""
    tool = find_power_mode_tool()
    mode = None if tool is None else tool.active()
    return None if mode is None else mode.label


def power_mode_label(wanted: str, *, allow_change: bool, elsewhere: bool = False) -> str:
    """Label of the mode in which a job that wants `wanted` would run; arguments as of `hold_power_mode`.

    Raises:
        JobError: As `hold_power_mode`.
    """
    before, mode = _choose(None if elsewhere else find_power_mode_tool(), wanted, allow_change=allow_change)
    return mode.label if mode is not None else before.label if before is not None else DEFAULT


@contextmanager
def hold_power_mode(wanted: str, *, allow_change: bool, elsewhere: bool = False) -> Iterator[str]:
    """Keep the device in a power mode and yield its label; afterwards it is in the mode it was in before.

    Args:
        wanted: Number, name or label of a mode; "default" leaves the device as it is.
        allow_change: Without it, a device in another mode is refused.
        elsewhere: The device is not this one but one that is driven from here, and it has no modes.

    Raises:
        JobError: There is no such mode, or the device is not in it and may not or cannot be put into it.
    """
    tool = None if elsewhere else find_power_mode_tool()
    if tool is not None:
        restore_left_over(tool)
    before, mode = _choose(tool, wanted, allow_change=allow_change)
    if tool is None or before is None or mode is None:
        yield before.label if before is not None else DEFAULT
        return
    guard = _start_guard(tool, before, mode)
    try:
        tool.set(mode)
        yield mode.label
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            guard.wait(timeout=_ANSWER_S)


def guard_power_mode(note: Path) -> None:
    """Wait until standard input ends, then put the mode back that the note names."""
    with note.open("r+b") as file, _locked(file.fileno()):
        print("ready", flush=True)
        sys.stdin.read()
        tool = find_power_mode_tool()
        if tool is not None:
            _put_back(tool, note)


def restore_left_over(tool: PowerModeTool) -> None:
    """Put back what a job and its guard could not, because both were killed."""
    note = tool.note.expanduser()
    with suppress(FileNotFoundError), note.open("r+b") as file, _locked(file.fileno()):
        if note.exists():  # else a guard was at work, and is done
            _put_back(tool, note)


def _choose(tool: PowerModeTool | None, wanted: str, *, allow_change: bool) -> tuple[PowerMode | None, PowerMode | None]:
    """Return the active mode, and the one to change to, if any."""
    before = None if tool is None else tool.active()
    if wanted == DEFAULT or (before is not None and before.is_called(wanted)):
        return before, None
    if tool is None or before is None:
        raise JobError(f"power_mode {wanted!r} needs a board with nvpmodel, which this is not; leave power_mode out.")
    modes = tool.modes()
    mode = next((mode for mode in modes if mode.is_called(wanted)), None)
    if mode is None:
        known = ", ".join(mode.label for mode in modes) or "unknown"
        raise JobError(f"power_mode must be one of this board ({known}), but {wanted!r} came; choose one.")
    if not allow_change:
        raise JobError(
            f"the device must be in power mode {mode.label!r}, but it is in {before.label!r}; set it there with "
            f"'sudo nvpmodel -m {mode.id}', or pass --allow-power-mode to have it changed and put back."
        )
    return before, mode


def _start_guard(tool: PowerModeTool, before: PowerMode, during: PowerMode) -> subprocess.Popen[bytes]:
    note = tool.note.expanduser()
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(dumps({"before": [before.id, before.name], "during": [during.id, during.name]}), encoding="utf-8")
    guard = subprocess.Popen(
        [sys.executable, "-m", "profilers", "guard-power-mode", str(note)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=package_environment(),
        start_new_session=True,  # what kills the agent with its process group must not kill the guard
    )
    assert guard.stdout is not None
    with guard.stdout as ready:
        if not ready.readline():
            raise JobError(
                "the power mode can be changed only under guard, but the guard did not start; see the disk and memory."
            )
    return guard


def _put_back(tool: PowerModeTool, note: Path) -> None:
    text = note.read_text(encoding="utf-8")
    if text:
        document = loads(text, "the note of the power mode")
        active = tool.active()
        # Somebody who has changed it since then meant to.
        if active is not None and active.id == document["during"][0]:
            with suppress(JobError):
                tool.set(PowerMode(*document["before"]))
    with suppress(FileNotFoundError):
        note.unlink()


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    import fcntl

    deadline = time.monotonic() + _NOTE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() >= deadline:
                raise JobError(
                    "the power mode must be put back by the job before, but its guard still waits; try again."
                ) from None
        time.sleep(0.1)
    yield
