"""An engine built on a board, over one connection; when that breaks, the build is begun anew.

The model goes into a folder of its own on the board, named by what is asked for; the engine, its record and the outputs come back
from there, and the folder is removed.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilers.engine_build import EngineBuild, EngineRequest, build_arguments, load_arrays, save_arrays
from profilers.errors import ProfilerError, TransportError, WorkerDiedError, error_named
from profilers.runtimes.base import file_sha256
from profilers.runtimes.tensorrt.engine_record import EngineRecord, write_record, write_whole
from profilers.strict_json import dumps, loads
from profilers.transports.ssh_connection import SshConnection

if TYPE_CHECKING:
    from profilers.runtimes.base import Array

_ENGINE, _OUTPUTS = "built.engine", "outputs.npz"


def run_command(
    board: SshConnection, arguments: list[str], *, deadline: float, job: str | None = None
) -> Iterator[dict[str, Any]]:
    """Run a command of the agent and yield what it prints, as it comes.

    Raises:
        ProfilerError: The agent ended with this error.
        WorkerDiedError: It died.
    """
    last: dict[str, Any] = {}
    for answer in board.follow({"do": "run", "arguments": arguments, "job": job}, deadline):
        if "line" in answer:
            last = loads(answer["line"], "an answer of the agent")
            if "error" not in last:
                yield last
        elif answer["exit"] == 0:
            return
        elif "error" in last:
            raise error_named(str(last["error"]), str(last["message"]))
        else:
            raise WorkerDiedError(
                f"the agent on the device must answer, but it died ({answer['last']}); see whether the runtime can be imported there."
            )
    raise AssertionError("a command ends with its exit status")


def build_over(
    board: SshConnection,
    request: EngineRequest,
    model: Path,
    engine: Path,
    *,
    inputs: Mapping[str, Array] | None,
    emit: Callable[[dict[str, Any]], None] | None,
    deadline: float,
) -> EngineBuild:
    """Build an engine on the board and write it here, as `Transport.build_engine`."""
    sha256 = file_sha256(model)
    job = hashlib.sha256(dumps(["build", sha256, *astuple(request)]).encode("utf-8")).hexdigest()
    with tempfile.TemporaryDirectory(prefix="profilers-") as folder:
        _put(board, job, model, sha256)
        given = None
        if inputs is not None:
            save_arrays(Path(folder) / "inputs.npz", inputs)
            given = file_sha256(Path(folder) / "inputs.npz")
            _put(board, job, Path(folder) / "inputs.npz", given)
        try:
            files = (None, None) if given is None else (_stored(given), _OUTPUTS)
            arguments = build_arguments(request, _stored(sha256), _ENGINE, *files)
            record = _follow(run_command(board, arguments, deadline=deadline, job=job), emit)
            plan = _get(board, job, _ENGINE, deadline)
            if hashlib.sha256(plan).hexdigest() != record.engine_sha256:
                raise TransportError(
                    "the engine must come back as it was built, but its bytes are others; run the same command again."
                )
            outputs = _get(board, job, _OUTPUTS, deadline)
        finally:
            with suppress(ProfilerError):
                board.ask({"do": "forget", "job": job})
        write_whole(engine, plan)
        write_record(engine, record)
        if not outputs:
            return EngineBuild(record, None)
        write_whole(Path(folder) / _OUTPUTS, outputs)
        return EngineBuild(record, load_arrays(Path(folder) / _OUTPUTS))


def _follow(events: Iterator[dict[str, Any]], emit: Callable[[dict[str, Any]], None] | None) -> EngineRecord:
    record = None
    for event in events:
        if event.get("event") == "built":
            record = EngineRecord.from_json(event["engine"])
        if emit is not None:
            emit(event)
    if record is None:
        raise TransportError("the agent must tell what it built, but something else came; run the same command again.")
    return record


def _put(board: SshConnection, job: str, path: Path, sha256: str) -> None:
    if board.ask({"do": "missing", "job": job, "sha256": [sha256]})["missing"]:
        board.ask({"do": "put", "job": job, "sha256": sha256, "size": path.stat().st_size}, content=path)


def _get(board: SshConnection, job: str, name: str, deadline: float) -> bytes:
    blocks: list[bytes] = []
    for answer in board.follow({"do": "get", "job": job, "name": name}, deadline):
        if "end" in answer:
            return b"".join(blocks)
        blocks.append(base64.b64decode(answer["block"]))
    raise AssertionError("a file ends with its end")


def _stored(sha256: str) -> str:
    """Where the board keeps what it was sent."""
    return f"models/{sha256}.onnx"
