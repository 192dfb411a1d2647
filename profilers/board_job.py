"""A job on a board that goes on, whoever is connected.

Its folder holds `models/<sha256>.onnx`, `job.json`, `results.jsonl`, what the agent prints (`events.jsonl`, `messages.txt`) and
`run.json`, which names one start of the agent. The agent inherits a lock on `running`: the system lets go of it when the agent
ends, however it ends, so that no process number is ever taken for another's.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from profilers.errors import JobError, ModelFileError, ProfilerError, TransportError, WorkerDiedError
from profilers.package import package_environment
from profilers.strict_json import dumps, loads

_BLOCK = 1 << 20
_LOCK_S = 0.5  # others look at the lock for much less
_STOP_S = 10.0


class BoardJob:
    """One folder of jobs; the class of an error is that which the user meets on the other side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def missing(self, sha256s: Sequence[str]) -> list[str]:
        """Return which of these models are not in the folder yet."""
        return [sha256 for sha256 in sha256s if not self._model(sha256).exists()]

    def put(self, sha256: str, size: int, stream: BinaryIO) -> None:
        """Take a model of `size` bytes from the stream; all of them are read, also when they cannot be kept."""
        path = self._model(sha256)
        temporary = path.with_suffix(".part")
        digest, left = hashlib.sha256(), size
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                while left:
                    block = stream.read(min(_BLOCK, left))
                    if not block:
                        raise TransportError(f"model {sha256} must arrive whole, but {left} bytes are missing; send it again.")
                    left -= len(block)
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != sha256:
                raise ModelFileError(
                    f"a model must not change while it is copied, but {sha256} became {digest.hexdigest()}; run again."
                )
            os.replace(str(temporary), str(path))
        finally:
            while left and stream.read(min(_BLOCK, left)):
                left -= min(_BLOCK, left)
            with suppress(OSError):
                temporary.unlink()

    def get(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a file that a command wrote into the folder; nothing where there is none.

        Raises:
            JobError: The name leads out of the folder.
        """
        if Path(name).name != name:
            raise JobError(
                f"a file of a job must be named without a folder, but {name!r} came; use the same version on both sides."
            )
        with suppress(FileNotFoundError), (self.folder / name).open("rb") as file:
            yield from iter(lambda: file.read(_BLOCK), b"")

    def start(self, document: dict[str, Any], rows: str, flags: Sequence[str]) -> str:
        """Start the agent unless it runs or has finished; return the name of its start.

        Args:
            document: The job, its models named by their SHA-256.
            rows: Lines of the results file of the other side; not needed where this folder has its own.
            flags: Of `profilers measure`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self._lock()
        if lock is None or self.is_finished():
            if lock is not None:
                os.close(lock)
            return self._wait_for_run()
        try:
            models = [{**model, "path": str(self._model(model["sha256"]))} for model in document["models"]]
            _write(self.folder / "job.json", dumps({**document, "models": models}))
            if not self._results.exists():
                _write(self._results, rows)
            run = secrets.token_hex(8)
            with self._events.open("wb") as events, (self.folder / "messages.txt").open("wb") as messages:
                _write(self.folder / "run.json", dumps({"run": run, "pid": None}))
                agent = subprocess.Popen(
                    [sys.executable, "-m", "profilers", "measure", "job.json", "--results", "results.jsonl", *flags],
                    stdin=subprocess.DEVNULL,
                    stdout=events,
                    stderr=messages,
                    cwd=str(self.folder),
                    env=package_environment(),
                    start_new_session=True,
                    pass_fds=[lock],
                )
                _write(self.folder / "run.json", dumps({"run": run, "pid": agent.pid}))
        finally:
            os.close(lock)
        return run

    @property
    def run(self) -> str | None:
        """Name of the last start of the agent."""
        found = self._run_document()
        return None if found is None else str(found["run"])

    @property
    def process_group(self) -> int | None:
        """Process group of the agent and its workers; only while it runs is it certainly theirs."""
        found = self._run_document()
        return None if found is None or found["pid"] is None else int(found["pid"])

    def is_running(self) -> bool:
        """Say whether the agent lives."""
        if not self.folder.is_dir():
            return False
        lock = self._lock(wait_s=0.0)
        if lock is None:
            return True
        os.close(lock)
        return False

    def is_finished(self) -> bool:
        """Say whether the agent came to its end; a killed one did not."""
        lines = self._tail(self._events)
        return bool(lines) and loads(lines[-1], "an event of the agent").get("event") in ("done", "error")

    def events(self, offset: int) -> tuple[str, int]:
        """Return whole lines of events from a byte on, and the byte after them."""
        try:
            with self._events.open("rb") as file:
                file.seek(offset)
                text = file.read(_BLOCK)
                while text and b"\n" not in text:  # a measurement of many runs is long
                    more = file.read(_BLOCK)
                    if not more:
                        break
                    text += more
        except FileNotFoundError:
            text = b""
        whole = text[: text.rfind(b"\n") + 1]
        return whole.decode("utf-8"), offset + len(whole)

    def death(self) -> ProfilerError:
        """Say why an agent that is gone did not finish."""
        if _free_bytes(self.folder) < 1 << 20:
            return storage_error(self.folder, OSError(errno.ENOSPC, "disk full"))
        lines = self._tail(self.folder / "messages.txt")
        last = lines[-1].strip()[:300] if lines else "killed without a word"
        return WorkerDiedError(
            f"the agent must live until the job is done, but it died on the device: {last}; "
            "finished measurements are kept, run the job again to go on."
        )

    def stop(self) -> None:
        """Kill the agent with its workers and wait until it is gone."""
        deadline = time.monotonic() + _STOP_S
        while self.is_running() and time.monotonic() < deadline:
            if self.process_group is not None:
                with suppress(ProcessLookupError):
                    os.killpg(self.process_group, signal.SIGKILL)
            time.sleep(0.05)

    def remove(self) -> None:
        """Delete the folder; a job that runs is stopped first."""
        self.stop()
        shutil.rmtree(str(self.folder), ignore_errors=True)

    @property
    def _results(self) -> Path:
        return self.folder / "results.jsonl"

    @property
    def _events(self) -> Path:
        return self.folder / "events.jsonl"

    def _model(self, sha256: str) -> Path:
        return self.folder / "models" / f"{sha256}.onnx"

    def _lock(self, wait_s: float = _LOCK_S) -> int | None:
        """Take the lock of the agent; None when an agent has it."""
        import fcntl

        descriptor = os.open(str(self.folder / "running"), os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except OSError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return None
            time.sleep(0.02)

    def _run_document(self) -> dict[str, Any] | None:
        try:
            document: dict[str, Any] = loads((self.folder / "run.json").read_text(encoding="utf-8"), "run.json")
        except FileNotFoundError:
            return None
        return document

    def _wait_for_run(self) -> str:
        """Return the name of a start that another connection is just making."""
        deadline = time.monotonic() + _STOP_S
        while self.run is None and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.run or ""

    def _tail(self, path: Path) -> list[str]:
        try:
            return path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []


def storage_error(path: Path, error: OSError) -> TransportError:
    """The sentence for a place on the device that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = _free_bytes(path) // (1 << 20)
        return TransportError(
            f"the device must have room in {str(path)!r}, but its disk is full ({free} MB free); "
            "free some space and run the same command again, finished measurements are kept."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return TransportError(
            f"the user on the device must be able to write to {str(path)!r}, but may not ({error.strerror}); "
            "change its owner, or set XDG_CACHE_HOME there to a folder that can be written."
        )
    return TransportError(f"the device must be able to write to {str(path)!r}, but cannot ({error}); check its disk.")


def _free_bytes(path: Path) -> int:
    for place in (path, *path.parents):
        with suppress(OSError):
            status = os.statvfs(str(place))
            return status.f_bavail * status.f_frsize
    return 0


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(str(temporary), str(path))
