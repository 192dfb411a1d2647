"""Files that are whole or not there: atomic writing, appending that survives a kill, and reading JSON that may be anything."""

import contextlib
import errno
import json
import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from nat_deploy.errors import FileFormatError, InputError, MissingError, NatDeployError, WorkError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_WRONG_PATH = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at `path`, whole and on the disk, when the block ends without an error, and not before.

    Raises:
        InputError: The place cannot be written (no such folder, no permission).
        WorkError: The disk is full or fails.
    """
    path = Path(os.path.realpath(path))  # a link stays a link: the file behind it is replaced
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise writing_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a whole file, or leave what was there; text is written as UTF-8.

    Raises:
        InputError: The place cannot be written (no such folder, no permission).
        WorkError: The disk is full or fails.
    """
    data = content.encode() if isinstance(content, str) else content
    with open_atomically(path) as file:
        file.write(data)


def append_line(path: Path, line: str) -> None:
    """Add one line to a file, on the disk before this returns.

    A line that an earlier process left half-written is closed first, so that it cannot swallow this one; a reader then finds one
    broken line and goes on.

    Raises:
        InputError: The place cannot be written (no such folder, no permission).
        WorkError: The disk is full or fails; the file is then as it was before.
    """
    if "\n" in line:
        raise ValueError("a line must not hold a line break")
    try:
        with Path(path).open("a+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            data = line.encode() + b"\n"
            if end and _last_byte(file, end) != b"\n":
                data = b"\n" + data
            try:
                _write_all(file, data)
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(end)
                raise
    except OSError as error:
        raise writing_error(path, error) from error


def remove_temporaries(folder: Path) -> None:
    """Remove what processes that were killed while they wrote left anywhere in a folder, which must not be written to meanwhile."""
    for path in folder.rglob(".*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes that want to hold it; the system gives it free when this process ends, however that ends.

    Where the system cannot lock folders, nothing is held.

    Raises:
        InputError: Another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"folder '{folder}' must be used by one process at a time, but another is at work in it; wait for it, or stop it"
            ) from error
        except OSError:  # some network file systems cannot
            pass
        yield
    finally:
        os.close(handle)


def read_json_document(path: Path) -> object:
    """The one JSON value of a file, read strictly: UTF-8, no key twice, no NaN or infinity.

    Raises:
        MissingError: There is no such file.
        FileFormatError: The file cannot be read or is not such JSON.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise MissingError(f"file '{path}' must exist, but there is none; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise FileFormatError(
            f"file {str(path)!r} must be readable, but it is not ({_reason(error)}); check the path and its permissions"
        ) from error
    return parse_json(data, described_as=f"file '{path}'")


def parse_json(data: bytes | str, *, described_as: str) -> object:
    """One JSON value from bytes, with the strictness of `read_json_document`; `described_as` names the source in the error."""
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        value: object = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_parse_finite, object_pairs_hook=_unique_keys
        )
        if "\\ud" in text.lower():  # an escaped half of a character, which no text can hold or print
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError as error:
        raise FileFormatError(f"{described_as} must hold plain JSON, but it is nested too deeply; write it again") from error
    except UnicodeEncodeError as error:
        raise FileFormatError(f"{described_as} must hold whole characters, but it escapes half of one; write it again") from error
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{described_as} must be UTF-8 text, but byte {error.start} is not; write it as UTF-8") from error
    except ValueError as error:
        raise FileFormatError(f"{described_as} must hold one JSON document, but it does not ({error}); write it again") from error


def writing_error(path: Path, error: OSError) -> NatDeployError:
    """The sentence for a file that could not be written."""
    if error.errno in _NO_SPACE:
        return WorkError(f"'{path}' could not be written because the disk is full; free some space and run again")
    if error.errno in _NOT_ALLOWED:
        return InputError(f"'{path}' must be writable, but it is not permitted; choose another place or change its permissions")
    if error.errno in _WRONG_PATH:
        return InputError(f"'{path}' must be a place that can be written, but it is not ({_reason(error)}); check the path")
    return WorkError(f"'{path}' could not be written ({_reason(error)}); check the disk and run again")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _write_all(file: BinaryIO, data: bytes) -> None:
    while data:  # an unbuffered write may take only a part
        data = data[file.write(data) :]


def _last_byte(file: BinaryIO, end: int) -> bytes:
    file.seek(end - 1)
    return file.read(1)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system can."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # some network file systems cannot; the content is on the disk already
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _parse_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice[:40]!r} is there twice")
    return values
