"""Ways to reach a device, one file each; nothing is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from profilers.errors import TransportError

if TYPE_CHECKING:
    from profilers.transports.base import Transport


def open_transport(spec: Mapping[str, str]) -> Transport:
    """Return the transport that `spec` describes.

    Args:
        spec: `{"transport": "local"}`, with "python" for another interpreter than this one.

    Raises:
        TransportError: The transport is not known or not built yet, or a key is not one of its own.
    """
    kind = spec.get("transport")
    if kind == "local":
        from profilers.transports.local import LocalTransport

        unknown = sorted(set(spec) - {"transport", "python"})
        if unknown:
            raise TransportError(f"the local transport takes only 'python', but {unknown[0]!r} came; remove it.")
        return LocalTransport(python=spec.get("python"))
    if kind in ("ssh", "adb"):
        raise TransportError(
            f"the transport {kind!r} comes in a later version; until then copy the folder 'profilers' to the "
            "device and run 'python3 -m profilers measure JOB.json --results RESULTS.jsonl' there."
        )
    raise TransportError(f"the transport must be 'local', but {kind!r} came; correct the description of the device.")
