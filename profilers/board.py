"""Serves a connection to this board: takes jobs, keeps them going when the connection is gone, and tells their events.

Requests are lines of JSON on standard input, answers lines of JSON on standard output:

    {"do": "run", "arguments", "job"}           {"line"} ... {"exit", "last"}   a command of this package, for this connection; the
                                                                                job, or null, says in which folder
    {"do": "missing", "job", "sha256"}          {"missing"}                     models that the board lacks
    {"do": "put", "job", "sha256", "size"}      {}                              the bytes of the model follow the request
    {"do": "get", "job", "name"}                {"block"} ... {"end": true}     a file of the job, blocks in base64
    {"do": "start", "job", "document", "rows", "flags"}   {"run"}               starts the agent unless it runs or is done
    {"do": "follow", "job", "run", "offset"}    {"events", "offset"} ... {"end": "finished" or "replaced"}
    {"do": "stop", "job"}                       {}
    {"do": "forget", "job"}                     {}

`{"alive": true}` comes while there is nothing to say; `{"error", "message"}` may come instead of any answer.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any, BinaryIO

from profilers.board_job import BoardJob, storage_error
from profilers.errors import JobError, ProfilerError
from profilers.job import is_sha256
from profilers.package import package_environment
from profilers.strict_json import dumps, loads

_ALIVE_EVERY_S = 5.0
_POLL_S = 0.1
_KEPT_S = 7 * 24 * 3600.0  # folders that nobody came back for


def serve(stdin: BinaryIO, root: str) -> None:
    """Answer requests until standard input ends or nobody reads the answers.

    Args:
        stdin: After the bootstrap.
        root: Folder of the package copies and jobs.
    """
    _remove_old(Path(root))
    with suppress(BrokenPipeError):
        for line in iter(stdin.readline, b""):
            try:
                for answer in _answers(loads(line.decode("utf-8"), "a request"), stdin, Path(root) / "jobs"):
                    print(dumps(answer), flush=True)
            except ProfilerError as error:
                print(dumps({"error": type(error).__name__, "message": str(error)}), flush=True)
            except BrokenPipeError:
                raise
            except OSError as error:
                trouble = storage_error(Path(root), error)
                print(dumps({"error": type(trouble).__name__, "message": str(trouble)}), flush=True)


def _answers(request: dict[str, Any], stdin: BinaryIO, jobs: Path) -> Iterator[dict[str, Any]]:
    do = request["do"]
    if do == "run" and request["job"] is None:
        yield from _run(request["arguments"], None)
        return
    if not is_sha256(request["job"]):
        raise JobError(f"a job must be named by 64 hex digits, but {request['job']!r} came; use the same version on both sides.")
    job = BoardJob(jobs / request["job"])
    if do == "run":
        yield from _run(request["arguments"], job.folder)
    elif do == "get":
        yield from ({"block": base64.b64encode(block).decode("ascii")} for block in job.get(request["name"]))
        yield {"end": True}
    elif do == "follow":
        yield from _follow(job, request["run"], request["offset"])
    elif do == "missing":
        yield {"missing": job.missing(request["sha256"])}
    elif do == "put":
        job.put(request["sha256"], request["size"], stdin)
        yield {}
    elif do == "start":
        yield {"run": job.start(request["document"], request["rows"], request["flags"])}
    elif do == "stop":
        job.stop()
        yield {}
    elif do == "forget":
        job.remove()
        yield {}
    else:
        raise JobError(f"a request must be one that this version knows, but {do!r} came; use the same version on both sides.")


def _follow(job: BoardJob, run: str, offset: int) -> Iterator[dict[str, Any]]:
    last_word = time.monotonic()
    while True:
        if job.run != run:
            yield {"end": "replaced"}
            return
        is_running = job.is_running()  # asked first, so that the last events of an agent are not missed
        events, offset = job.events(offset)
        if events:
            last_word = time.monotonic()
            yield {"events": events, "offset": offset}
        elif not is_running:
            if not job.is_finished():
                raise job.death()
            yield {"end": "finished"}
            return
        else:
            if time.monotonic() - last_word >= _ALIVE_EVERY_S:
                last_word = time.monotonic()
                yield {"alive": True}
            time.sleep(_POLL_S)


def _run(arguments: list[str], folder: Path | None) -> Iterator[dict[str, Any]]:
    """Run a command of this package as a process, since a runtime may crash while it is imported."""
    lines: Queue[str | None] = Queue()
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [sys.executable, "-m", "profilers", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=messages,
            cwd=None if folder is None else str(folder),
            env=package_environment(),
            encoding="utf-8",
        )
        try:
            assert process.stdout is not None
            reader = threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True)
            reader.start()
            while True:
                try:
                    line = lines.get(timeout=_ALIVE_EVERY_S)
                except Empty:
                    yield {"alive": True}
                    continue
                if line is None:
                    break
                yield {"line": line}
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        messages.seek(0)
        last = messages.read().decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][:300]
        yield {"exit": code, "last": last}


def _read_lines(stream: IO[str], lines: Queue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _remove_old(root: Path) -> None:
    """Delete what nobody came back for."""
    with suppress(OSError):
        for folder in (*root.glob("package/*"), *root.glob("jobs/*")):
            newest = max((place.stat().st_mtime for place in (folder, *folder.glob("*"))), default=0.0)
            is_used = folder.parent.name == "jobs" and BoardJob(folder).is_running()
            if time.time() - newest > _KEPT_S and not is_used and folder not in Path(__file__).parents:
                shutil.rmtree(str(folder), ignore_errors=True)
