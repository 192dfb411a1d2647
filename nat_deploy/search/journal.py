"""A file of records that only grows: one JSON object a line, each with a checksum."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from nat_deploy.errors import FileFormatError
from nat_deploy.files import append_line, parse_json, write_atomically

Record = TypeVar("Record")

_CHECKSUM = "sha256"
_CHECKSUM_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Journal(Generic[Record]):
    """Records of one type in the file at `path`, in the order they were written."""

    path: Path
    adapter: TypeAdapter[Record]

    def append(self, record: Record) -> None:
        """Add a record; it is on the disk when this returns.

        Raises:
            InputError: The file cannot be written.
            WorkError: The disk is full or fails.
        """
        fields = self.adapter.dump_python(record, mode="json")
        append_line(self.path, json.dumps({**fields, _CHECKSUM: _checksum(fields)}))

    def read(self) -> list[Record]:
        """All records, without a last line that is not whole: it is being written, or a kill left it so. Nothing is changed.

        Raises:
            FileFormatError: Any other line is not as it was written.
        """
        whole = _whole_lines(self._content())
        return [self._record(line, number) for number, line in enumerate(whole.split(b"\n")[:-1], start=1)]

    def repair(self) -> None:
        """Cut off a last line that a kill left half-written; to be called before anything is appended.

        Raises:
            InputError: The file cannot be written.
            WorkError: The disk is full or fails.
        """
        content = self._content()
        whole = _whole_lines(content)
        if len(whole) < len(content):
            write_atomically(self.path, whole)

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    def _record(self, line: bytes, number: int) -> Record:
        where = f"line {number} of '{self.path}'"
        fields = parse_json(line, described_as=where)
        if not isinstance(fields, dict) or fields.pop(_CHECKSUM, None) != _checksum(fields):
            raise FileFormatError(
                f"{where} must be as it was written, but its checksum differs; restore the file or start a new run"
            )
        return validated(self.adapter, fields, where)


def validated(adapter: TypeAdapter[Record], document: object, where: str) -> Record:
    """A value of the adapter's type from parsed JSON.

    Raises:
        FileFormatError: A key is missing, unknown or of a wrong type; the message names the first.
    """
    try:
        return adapter.validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the document"
        raise FileFormatError(
            f"{where} does not have the expected form at {key}: {first['msg']}; restore the file or start a new run"
        ) from error


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _checksum(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:_CHECKSUM_LENGTH]
