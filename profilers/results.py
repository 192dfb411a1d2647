r"""The results file: one line for each finished measurement, safe against being killed at any byte.

A line is `{"measurement": {...}, "sha256": "..."}` or `{"failed": {...}, "sha256": "..."}`, where `sha256` is
taken over the canonical JSON of the other value. A row counts once its newline is on disk: text after the
last newline is a torn write and is dropped; anything wrong before it is refused.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from profilers.errors import JobError
from profilers.measurement import Measurement
from profilers.strict_json import OPTIONAL, checked_object, dumps, loads

_ROW = {"measurement": (dict,), "failed": (dict,), "sha256": (str,)}
_FAILED = {"id": (str,), "model_sha256": (str, OPTIONAL), "target": (str,), "message": (str,)}


@dataclass(frozen=True)
class Failure:
    """A model that could not be measured; it is tried again when the job is."""

    id: str
    model_sha256: str | None  # None when there is no such file
    target: str  # key
    message: str

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "model_sha256": self.model_sha256,
            "target": self.target,
            "message": self.message,
        }


@dataclass(frozen=True)
class Results:
    """What a results file holds, in the order it was written."""

    measurements: tuple[Measurement, ...] = ()
    failures: tuple[Failure, ...] = ()
    num_bytes: int = 0  # up to here the file is whole; the rest is a torn write


def read_results(path: Path) -> Results:
    """Read a results file; a file that is not there holds nothing.

    Raises:
        JobError: A line that was written whole is not what was written; the message names it.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return Results()
    except OSError as error:
        raise JobError(f"the results file must be readable, but {str(path)!r} is not ({error}); check the path.") from error
    whole = content[: content.rfind(b"\n") + 1]
    measurements: list[Measurement] = []
    failures: list[Failure] = []
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        row = _read_row(line, f"line {number} of the results file {str(path)!r}")
        if isinstance(row, Measurement):
            measurements.append(row)
        else:
            failures.append(row)
    return Results(tuple(measurements), tuple(failures), len(whole))


class ResultsWriter:
    """Appends rows; each is on disk when `append` returns."""

    def __init__(self, path: Path, results: Results) -> None:
        """Open for appending after the rows of `results`, which were read from the same file."""
        self._path = str(path)
        try:
            self._descriptor = os.open(str(path), os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        except OSError as error:
            raise JobError(f"the results file must be writable, but {str(path)!r} is not ({error}); check the path.") from error
        os.ftruncate(self._descriptor, results.num_bytes)  # a new row must not be glued to a torn one
        os.lseek(self._descriptor, 0, os.SEEK_END)

    def append(self, row: Measurement | Failure) -> None:
        """Raises: JobError when the row cannot be kept: the disk is full or fails."""
        line = results_line(row)
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise JobError(
                f"the results file must take every row, but {self._path!r} did not ({error}); free some space and run again."
            ) from error

    def __enter__(self) -> ResultsWriter:  # noqa: PYI034 - typing.Self came after Python 3.8
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._descriptor)


def results_line(row: Measurement | Failure) -> bytes:
    """The line of a row, with its line break."""
    kind = "measurement" if isinstance(row, Measurement) else "failed"
    document = row.to_json()
    return dumps({kind: document, "sha256": _checksum(document)}).encode("utf-8") + b"\n"


def _read_row(line: bytes, what: str) -> Measurement | Failure:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JobError(f"{what} must be UTF-8 text, but it is not; remove the line and measure again.") from error
    row = checked_object(loads(text, what), _ROW, what, may_lack=("measurement", "failed"))
    if len(row) != 2:
        raise JobError(f"{what} must hold either a measurement or a failure; remove the line and measure again.")
    kind = "measurement" if "measurement" in row else "failed"
    if row["sha256"] != _checksum(row[kind]):
        raise JobError(f"{what} must carry the checksum of its content, but it does not; remove it and measure again.")
    if kind == "measurement":
        return Measurement.from_json(row[kind])
    return Failure(**checked_object(row[kind], _FAILED, what))


def _checksum(document: object) -> str:
    return hashlib.sha256(dumps(document).encode("utf-8")).hexdigest()
