"""Answers from recorded results, sample by sample, with a clock of its own: the same on every machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, cycle
from pathlib import Path
from typing import TYPE_CHECKING

from profilers.errors import JobError, ModelFileError, RuntimeFailedError
from profilers.measurement import Measurement
from profilers.results import read_results
from profilers.runtimes.base import CheckedSession, file_sha256
from profilers.runtimes.fake import VirtualClock

if TYPE_CHECKING:
    from profilers.runtimes.base import Array


class ReplayRuntime:
    """Knows the models that were recorded, by the bytes of their files, and refuses all others."""

    name = "replay"

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        """Raises: JobError when there is nothing to replay, or results of two targets are mixed."""
        recorded = list(measurements)
        keys = sorted({measurement.target.key for measurement in recorded})
        if len(keys) != 1:
            raise JobError(f"a recording must hold results of exactly one target, but it holds {keys or 'none'}; split it.")
        self.clock = VirtualClock()
        self.target = recorded[0].target
        self._by_sha256 = {measurement.model_sha256: measurement for measurement in recorded}

    @staticmethod
    def from_results(path: Path) -> ReplayRuntime:
        """Replay a results file, or all of a folder.

        Raises:
            JobError: There is none, one cannot be read, or they do not hold results of one target.
        """
        files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise JobError(f"a recording must be a results file or a folder of them, but {str(path)!r} is not; check the path.")
        return ReplayRuntime(chain.from_iterable(read_results(file).measurements for file in files))

    def check_available(self) -> None:
        """Always there."""

    def version(self) -> str:
        """The recorded target is named, so that a replay never passes for a measurement of this device."""
        return self.target.key

    def load(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        seed: int = 0,
        flush_denormals: bool = False,
    ) -> ReplaySession:
        asked, known = (threads, precision, batch_size), self.target
        if asked != (known.threads, known.precision, known.batch_size):
            raise RuntimeFailedError(
                f"a replay must ask for what was recorded ({known.key}), but threads={threads}, "
                f"precision={precision!r}, batch_size={batch_size} came; change the job."
            )
        measurement = self._by_sha256.get(file_sha256(Path(path)))
        if measurement is None:
            raise ModelFileError(
                f"a replay knows only recorded models, but {str(path)!r} is not among the "
                f"{len(self._by_sha256)} of the recording; measure it on the device."
            )
        return ReplaySession(measurement, self.clock)


class ReplaySession(CheckedSession):
    """Plays the recorded samples in order, and starts again at their end."""

    def __init__(self, measurement: Measurement, clock: VirtualClock) -> None:
        super().__init__(measurement.id, {}, seed=0)
        self._clock = clock
        self._samples = cycle(chain.from_iterable(measurement.rounds))

    def _infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        raise RuntimeFailedError("a replay knows times, not outputs; run the model in the runtime that was recorded.")

    def _run(self) -> None:
        self._clock.advance(next(self._samples))
