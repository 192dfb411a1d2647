"""Ways to reach a device, one file each; nothing is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from profilers.errors import TransportError

if TYPE_CHECKING:
    from profilers.transports.base import Transport


def open_transport(spec: Mapping[str, str]) -> Transport:
    """Return the transport that `spec` describes.

    Args:
        spec: `{"transport": "local"}`, with "python" for another interpreter than this one; or `{"transport": "ssh", "host": ...}`,
            with any field of `SshAddress`. Both take "allow_power_mode": "yes". Or `{"transport": "adb"}`, with "serial" of a phone and
            "tool", the path of the benchmark program there.

    Raises:
        TransportError: The transport is not known, or a key is not one of its own.
    """
    kind = spec.get("transport")
    given = {key: value for key, value in spec.items() if key not in ("transport", "allow_power_mode")}
    allow_power_mode = spec.get("allow_power_mode") == "yes"
    if kind == "local":
        from profilers.transports.local import LocalTransport

        _check_keys(kind, given, ("python",))
        return LocalTransport(python=given.get("python"), allow_power_mode=allow_power_mode)
    if kind == "ssh":
        from profilers.transports.ssh import SshTransport
        from profilers.transports.ssh_connection import SshAddress

        _check_keys(kind, given, ("host", "user", "port", "identity_file", "password_file", "python"), needed="host")
        port = given.pop("port", None)
        address = SshAddress(**given, port=None if port is None else int(port))
        return SshTransport(address, allow_power_mode=allow_power_mode)
    if kind == "adb":
        from profilers.transports.adb import AdbTransport

        _check_keys(kind, given, ("serial", "tool"))
        return AdbTransport(**given)
    raise TransportError(
        f"the transport must be 'local', 'ssh' or 'adb', but {kind!r} came; correct the description of the device."
    )


def _check_keys(kind: str, given: Mapping[str, str], known: Sequence[str], *, needed: str | None = None) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise TransportError(f"the transport {kind!r} takes {', '.join(known)}, but {unknown[0]!r} came; remove it.")
    if needed is not None and needed not in given:
        raise TransportError(f"the transport {kind!r} needs {needed!r}, but it is not given; add it.")
