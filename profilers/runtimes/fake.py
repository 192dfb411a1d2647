"""A runtime that computes nothing and keeps its own time, for tests; it is not in the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from profilers.errors import RuntimeFailedError
from profilers.runtimes.base import CheckedSession, TensorSpec, check_model_file

if TYPE_CHECKING:
    from profilers.runtimes.base import Array


class VirtualClock:
    """Time in ns that moves only when told to; every run is the same on every machine."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, duration_ns: int) -> None:
        self.now_ns += duration_ns


class FakeRuntime:
    """Every run of a model lasts what `duration_ns(file name, time now)` says."""

    name = "fake"

    def __init__(self, duration_ns: Callable[[str, int], int], *, version: str = "1") -> None:
        self.clock = VirtualClock()
        self._duration_ns = duration_ns
        self._version = version

    def check_available(self) -> None:
        """Always there."""

    def version(self) -> str:
        return self._version

    def load(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        seed: int = 0,
        flush_denormals: bool = False,
    ) -> FakeSession:
        check_model_file(Path(path))
        return FakeSession(Path(path).name, self.clock, self._duration_ns, batch_size=batch_size, seed=seed)


class FakeSession(CheckedSession):
    """Takes one float32 input "x" of shape (batch, 1) and returns it as "y"."""

    def __init__(
        self,
        name: str,
        clock: VirtualClock,
        duration_ns: Callable[[str, int], int],
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(name, {"x": TensorSpec((batch_size, 1), "float32")}, seed=seed)
        self._clock = clock
        self._duration_ns = duration_ns

    def _infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"].copy()}

    def _run(self) -> None:
        duration = self._duration_ns(self.name, self._clock())
        if duration <= 0:
            raise RuntimeFailedError(f"fake model {self.name!r} must take time, but {duration} ns came; correct the test.")
        self._clock.advance(duration)
