"""One profiler at a time on a device: two would disturb one another."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from profilers.errors import DeviceBusyError

_POLL_S = 0.5


@contextmanager
def device_lock(
    device: str,
    *,
    wait_s: float,
    on_wait: Callable[[str], None] = lambda message: None,
    folder: Path | None = None,
) -> Iterator[None]:
    """Hold the device; the system lets go of it when the process ends, however it ends.

    Args:
        device: Name of the device.
        wait_s: How long to wait for another profiler.
        on_wait: Called once with a sentence when waiting begins.
        folder: Where the lock file lies; the folder for temporary files by default.

    Raises:
        DeviceBusyError: The other profiler was not done in time.
    """
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks, and one user at a time
        yield
        return
    path = (folder or Path(tempfile.gettempdir())) / f"profilers-{device}.lock"
    descriptor = _open(path)
    try:
        deadline = time.monotonic() + wait_s
        is_told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= deadline:
                    raise DeviceBusyError(
                        f"the device {device!r} must be free to measure, but another profiler still "
                        f"holds it after {wait_s:g} s; try again later or raise --wait-seconds."
                    ) from error
            if not is_told:
                on_wait(f"another profiler is measuring on {device!r}; waiting up to {wait_s:g} s")
                is_told = True
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open or make the lock file, also when another user made it; a link is not followed."""
    try:
        return os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        try:
            return os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            raise DeviceBusyError(
                f"the lock file {str(path)!r} must be a file that can be opened, but it is not ({error}); remove it."
            ) from error
