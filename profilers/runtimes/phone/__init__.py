"""Android phones, reached over adb: they have no Python, so that models are run by benchmark programs that lie there."""

from __future__ import annotations

from profilers.errors import TransportError
from profilers.runtimes.phone.connection import Phone
from profilers.runtimes.phone.runtime import PhoneRuntime

PREFIX = "adb:"


def phone_runtime_name(runtime: str, serial: str, program: str | None) -> str:
    """Name by which `open_runtime` opens a runtime on a phone: `litert:adb:SERIAL/data/local/tmp/benchmark_model`."""
    return f"{runtime}:{PREFIX}{serial}{program or ''}"


def open_phone_runtime(kind: str, argument: str) -> PhoneRuntime:
    """Return a runtime on a phone, by the two halves of its name.

    Raises:
        RuntimeNotInstalledError: Phones do not run models of that runtime.
        TransportError: The serial or the path cannot be one.
    """
    serial, slash, rest = argument[len(PREFIX) :].partition("/")
    program = slash + rest
    if not program.isprintable() or program.endswith("/"):
        raise TransportError(f"the tool of a phone must be the full path of a file there, but {program!r} came; correct it.")
    return PhoneRuntime(kind, Phone(serial), program or None)
