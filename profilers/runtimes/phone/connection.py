"""A phone over adb: commands, files, and what is said when it is not there.

The wire is that of `adbutils`, which talks to the adb server of this machine. A cable that is pulled is waited for, and what was
being done is done again: every command here can be given twice.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from profilers.errors import ProfilerError, RuntimeNotInstalledError, TransportError
from profilers.target import slug

FOLDER = "/data/local/tmp/natdeploy"  # the one place where the user `shell` may write and execute
_COMMAND_S = 60.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Answer:
    """What a command printed, and how it ended."""

    code: int
    output: str  # both streams

    @property
    def last_line(self) -> str:
        """For messages."""
        lines = self.output.strip().split("\n")
        return " ".join(lines[-1].split())[:300] or "no word about it"


class PhoneGoneError(Exception):
    """The connection broke; another attempt may succeed."""


class Phone:
    """One phone; nothing is asked of it before a method is called."""

    def __init__(self, serial: str, *, patience_s: float = 60.0) -> None:
        """Name it.

        Args:
            serial: As `adb devices` lists it.
            patience_s: How long a phone that was there is waited for.

        Raises:
            TransportError: No phone can be called so.
        """
        if not _NAME.fullmatch(serial):
            raise TransportError(f"the serial of a phone must be one that 'adb devices' lists, but {serial!r} came; correct it.")
        self.serial = serial
        self._patience_s = patience_s
        self._was_there = False
        self._is_lost = False  # it was waited for in vain, and is not again
        self._handle: Any = None  # of adbutils, while the phone is there

    @property
    def lock_name(self) -> str:
        """Of the lock on this machine; two phones of one kind may be measured at the same time."""
        return f"adb-{slug(self.serial)}"

    def run(self, command: str, *, timeout_s: float | None = _COMMAND_S) -> Answer:
        """Give a command to the shell of the phone.

        Args:
            command: Whatever it holds that came from outside must have gone through `quoted`.
            timeout_s: Without a word of the command; None waits.

        Raises:
            TransportError: The phone is not there, or went away and did not come back.
        """

        def attempt() -> Answer:
            answer = self._device().shell2(command, timeout=timeout_s, v2=True)
            return Answer(int(answer.returncode), str(answer.output).replace("\r\n", "\n"))

        return self._persist(attempt)

    def put(self, source: Path, name: str, sha256: str) -> str:
        """Copy a file into the folder of the phone and check what arrived; return its path there.

        Raises:
            TransportError: It cannot be written, or the phone is not there.
        """
        place, part = f"{FOLDER}/{name}", f"{FOLDER}/{name}.part"
        # A phone that was unplugged in the middle keeps models that nobody comes back for.
        self.run(f"mkdir -p {FOLDER} && find {FOLDER} -type f -mtime +7 -exec rm -f {{}} +")
        refusal = self._persist(lambda: self._push(source, part))
        # A second time the first half may fail, since the file was moved before the connection broke.
        moved = f"{_has_sha256(part, sha256)} && mv {quoted(part, place)} || {_has_sha256(place, sha256)}"
        if refusal is None and self.run(moved).code == 0:
            return place
        self.run(f"rm -f {quoted(part)}")
        raise self._storage_error(source, refusal)

    def _push(self, source: Path, place: str) -> str | None:
        """Send a file; return what the phone has against it."""
        errors = importlib.import_module("adbutils.errors")
        try:
            self._device().sync.push(source, place, mode=0o644)
        except errors.AdbError as error:
            if str(error) == "FAIL":  # the reason follows on the wire, but adbutils leaves it there
                return "it could not be written"
            raise
        return None

    def _storage_error(self, source: Path, refusal: str | None) -> TransportError:
        size = source.stat().st_size
        # Columns of 1-kB blocks: size, used, available.
        found = re.search(r"\s(\d+)\s+(\d+)\s+(\d+)\s+\d+%", self.run(f"df -k {FOLDER}").output)
        free_mb = None if found is None else int(found.group(3)) / 1024
        if free_mb is not None and free_mb * 2**20 < size:
            return TransportError(
                f"the phone {self.serial!r} must have room for {size / 2**20:.1f} MB in {FOLDER!r}, but its disk is full "
                f"({free_mb:.1f} MB free); free some space and run the same command again, finished measurements are kept."
            )
        return TransportError(
            f"the phone {self.serial!r} must take files into {FOLDER!r}, but {source.name!r} did not arrive whole "
            f"({refusal or 'its bytes are others there'}); check the cable and run the same command again."
        )

    def _device(self) -> Any:
        """Raises: PhoneGoneError with a sentence unless the phone takes commands now."""
        if self._handle is None:
            states = _states()
            state = states.get(self.serial)
            if state != "device":
                raise PhoneGoneError(_sentence(self.serial, state, sorted(states)))
            self._was_there = True
            self._handle = _client(None).device(self.serial)
        return self._handle

    def _persist(self, attempt: Callable[[], _T]) -> _T:
        """Try again while the connection is broken; a phone that was never there is not waited for."""
        adbutils = _import_adbutils()
        deadline: float | None = None
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return attempt()
            except (PhoneGoneError, adbutils.AdbError, EOFError, OSError, ValueError) as error:
                reason = str(error) or type(error).__name__
                if not self._was_there:
                    raise TransportError(reason) from error
            except ProfilerError as error:  # the adb server is away
                if not self._was_there:
                    raise
                reason = str(error)
            self._handle = None
            deadline = deadline or time.monotonic() + (0 if self._is_lost else self._patience_s)
            if time.monotonic() >= deadline:
                self._is_lost = True
                raise TransportError(
                    f"the phone {self.serial!r} must stay connected, but it was away for {self._patience_s:g} s ({reason}); "
                    "finished measurements are kept, plug it in and run the same command again."
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def find_phone(serial: str | None) -> str:
    """The serial of the phone that is meant: without one, the only phone there is.

    Raises:
        RuntimeNotInstalledError: `adbutils` is missing.
        TransportError: There is none, or there are several.
    """
    if serial is not None:
        return serial
    serials = sorted(_states())
    if len(serials) == 1:
        return serials[0]
    if not serials:
        raise TransportError(_sentence(None, None, []))
    raise TransportError(
        f"one phone must be chosen, but {len(serials)} are connected ({', '.join(serials)}); "
        f'write serial = "{serials[0]}" into the description of the device.'
    )


def _has_sha256(place: str, sha256: str) -> str:
    return f"sha256sum {quoted(place)} | grep -q {quoted('^' + sha256)}"


def quoted(*words: str) -> str:
    """Words of a command for the shell of the phone, which takes one string."""
    return " ".join(map(shlex.quote, words))


def _states() -> dict[str, str]:
    """Serial -> "device", "offline", "unauthorized", ... of every phone that the adb server knows."""
    client = _client(_COMMAND_S)
    try:
        # Asked first, since adbutils would start a server where there is none, and leave it running.
        with socket.create_connection((client.host, client.port), timeout=5):
            pass
        return {item.serial: item.state for item in client.list()}
    except (OSError, _import_adbutils().AdbError) as error:
        raise TransportError(
            f"the adb server must run on {client.host}:{client.port}, but it does not answer ({error}); "
            "start it with 'adb start-server'."
        ) from error


def _sentence(serial: str | None, state: str | None, known: list[str]) -> str:
    if not known:
        return "a phone must be connected, but adb lists none; plug it in, and switch USB debugging on in its developer options."
    if state is None:
        return f"the phone must be one that adb lists ({', '.join(known)}), but {serial!r} came; correct 'serial' or plug it in."
    if state == "unauthorized":
        return f"the phone {serial!r} must allow this computer to debug it, but it has not; unlock it and accept the question it shows."
    if state == "offline":
        return f"the phone {serial!r} must answer, but adb says that it is offline; plug it in again, or run 'adb reconnect offline'."
    if state == "no":  # "no permissions"
        return f"this user must be allowed to use the phone {serial!r}, but is not; add the udev rules of Android and plug it in again."
    return f"the phone {serial!r} must be started and ready, but adb says that it is in the state {state!r}; start Android on it."


def _client(timeout_s: float | None) -> Any:
    # Where the server is comes from ANDROID_ADB_SERVER_HOST and ANDROID_ADB_SERVER_PORT, as for adb itself.
    try:
        return _import_adbutils().AdbClient(socket_timeout=timeout_s)
    except ValueError as error:
        port = os.environ.get("ANDROID_ADB_SERVER_PORT")
        raise TransportError(f"ANDROID_ADB_SERVER_PORT must be a number, but {port!r} came; correct it.") from error


def _import_adbutils() -> Any:
    try:
        return importlib.import_module("adbutils")
    except ImportError as error:
        raise RuntimeNotInstalledError(
            "phones are reached with the Python package 'adbutils', which is not installed here; "
            "install it with 'pip install natdeploy[adb]'."
        ) from error
