"""How much memory a model takes: growth of this process, which Linux tells."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from profilers.device_facts import read_text


class MemoryWatch:
    """How far the resident memory of this process grew, at its peak, between the start of the watch and the first look."""

    def __init__(self, process: Path = Path("/proc/self")) -> None:
        """Begin a new peak; `process` is the folder that tells of this process."""
        with suppress(OSError):  # without the right, the peak is that since the process began
            (process / "clear_refs").write_text("5")
        self._process = process
        self._before = self._read("VmRSS")
        self.peak_bytes: int | None = None  # None before the first look, and where the system does not tell

    def look(self) -> None:
        """Take the peak up to now; only the first time, since what measuring itself keeps is no memory of the model."""
        peak = self._read("VmHWM")
        if self.peak_bytes is None and peak is not None and self._before is not None:
            self.peak_bytes = max(0, peak - self._before)

    def _read(self, name: str) -> int | None:
        for line in (read_text(self._process / "status") or "").splitlines():
            key, _, value = line.partition(":")
            if key == name and value.split()[1:] == ["kB"]:
                return int(value.split()[0]) * 1024
        return None
