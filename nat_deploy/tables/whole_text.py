"""Small text files that others wrote: read whole, or refused."""

from pathlib import Path

from nat_deploy.errors import FileFormatError, MissingError

_MOST_BYTES = 10_000_000


def read_whole_text(path: Path) -> str:
    """The text of a file whose lines are its entries.

    The last line must be ended: a line that was cut may still read as a line, with another number in it.

    Raises:
        MissingError: There is no such file.
        FileFormatError: It cannot be read, is no text, too large or cut.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise MissingError(f"file '{path}' must exist, but there is none; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: other bytes than text, or a path with a null byte
        raise FileFormatError(
            f"file {str(path)!r} must be readable UTF-8 text, but it is not ({str(error)[:120]}); check the path and save it so"
        ) from error
    if len(content) > _MOST_BYTES:
        raise FileFormatError(f"file '{path}' must hold at most {_MOST_BYTES // 10**6} MB, but it is larger; check the path")
    if not text.endswith("\n"):
        raise FileFormatError(
            f"file '{path}' must end with a line break, but it does not, so it may have been cut; copy it again, or end its last line"
        )
    return text
