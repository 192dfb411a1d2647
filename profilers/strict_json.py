"""JSON that is read strictly: no unknown, missing, doubled or mistyped keys, no NaN."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from profilers.errors import JobError

OPTIONAL = type(None)  # put beside another type: the value may be null


def dumps(value: object) -> str:
    """Write canonical JSON: one line, sorted keys, no spaces; equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def loads(text: str, what: str) -> Any:
    """Read JSON text.

    Args:
        text: The JSON text.
        what: What the text is, for the message ("job file 'a.json'").

    Raises:
        JobError: The text is not JSON, repeats a key, or holds NaN or Infinity.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise JobError(f"{what} must be JSON text, but it cannot be read ({error}); write it again.") from error


def checked_object(
    value: object,
    fields: Mapping[str, tuple[type, ...]],
    what: str,
    *,
    may_lack: Iterable[str] = (),
) -> dict[str, Any]:
    """Return `value` as a dict that has exactly the keys of `fields`, each of one of its types.

    A whole number passes as a float; true and false never pass as numbers; floats are finite.

    Raises:
        JobError: The sentence names the key, what came and what is allowed.
    """
    if not isinstance(value, dict):
        raise JobError(f"{what} must be a JSON object, but {_shown(value)} came; see the keys {sorted(fields)}.")
    unknown = sorted(str(key) for key in value if key not in fields)
    if unknown:
        raise JobError(f"{what} has the unknown key {unknown[0]!r}; the known keys are {sorted(fields)}.")
    lacking = sorted(set(fields) - set(value) - set(may_lack))
    if lacking:
        raise JobError(f"{what} lacks the key {lacking[0]!r}; add it.")
    return {key: _checked(item, fields[key], f"{what}: key {key!r}") for key, item in value.items()}


def check_format(value: object, expected: int, what: str) -> None:
    """Refuse a file written in a format that this version does not read."""
    if value != expected or isinstance(value, bool):
        raise JobError(
            f'{what} must have "format": {expected}, but {_shown(value)} came; use the version of profilers that wrote it.'
        )


def _checked(value: Any, types: tuple[type, ...], what: str) -> Any:
    if isinstance(value, bool) and bool not in types:
        raise JobError(f"{what} must be {_names(types)}, but {_shown(value)} came; correct it.")
    if isinstance(value, int) and not isinstance(value, bool) and float in types and int not in types:
        value = float(value)
    if not isinstance(value, types):
        raise JobError(f"{what} must be {_names(types)}, but {_shown(value)} came; correct it.")
    if isinstance(value, float) and not math.isfinite(value):
        raise JobError(f"{what} must be finite, but {_shown(value)} came; correct it.")
    return value


def _names(types: tuple[type, ...]) -> str:
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list",
             dict: "an object", OPTIONAL: "null"}  # fmt: skip
    return " or ".join(words.get(kind, kind.__name__) for kind in types)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not allowed")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key comes twice in one object")
    return document
