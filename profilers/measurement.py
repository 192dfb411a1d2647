"""The record of one model timed on one target."""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from profilers.device_facts import DeviceFacts
from profilers.errors import JobError
from profilers.job import is_sha256
from profilers.measurement_warning import MeasurementWarning
from profilers.settings import Settings
from profilers.sitting import Sitting
from profilers.statistics import SEQUENTIAL_CONFIDENCE, median_interval, percentile_or_none, round_quantiles, slow_share
from profilers.strict_json import OPTIONAL, check_format, checked_object
from profilers.target import Target, check_count

FORMAT = 2
# Format 1 knew no sittings, and its intervals were made without regard to when measuring stops.
_CONFIDENCES = {1: 0.95, 2: SEQUENTIAL_CONFIDENCE}
_FIELDS = {
    "format": (int,),
    "id": (str,),
    "model_sha256": (str,),
    "target": (dict,),
    "settings": (dict,),
    "affinity": (list, OPTIONAL),
    "round_lengths": (list,),
    "samples": (str,),
    "runs_per_sample": (int,),
    "num_warmup": (int,),
    "load_ms": (float,),
    "converged": (bool,),
    "warnings": (list,),
    "facts": (dict,),
    "summary": (dict,),
    "sitting": (dict, OPTIONAL),
}
_SUMMARY = ("median_ms", "low_ms", "high_ms", "p25_ms", "p25_low_ms", "p25_high_ms")


@dataclass(frozen=True)
class Measurement:
    """All timed runs of one model file on one target; every figure is computed from the raw samples.

    Report `median_ms` with `low_ms`..`high_ms`: it is what people expect and what trtexec prints. Compare,
    predict and search with `p25_ms` with `p25_low_ms`..`p25_high_ms`: noise only ever adds time, so a low
    quantile moves less. On a busy machine the ratio of two interleaved models spread by 2.0 % with p25,
    5.3 % with the median and 25 % with the mean. `converged` speaks of the interval of p25.

    A figure is the median over rounds of the figure of each round; an interval holds, in about 95 of 100
    measurements, what the device takes in the state it was in meanwhile. Whether it was in one state is told
    by the warnings; models of one sitting compare better than their intervals say (`profilers.comparison`).
    """

    id: str
    model_sha256: str
    target: Target
    settings: Settings
    affinity: tuple[int, ...] | None
    rounds: tuple[tuple[int, ...], ...]  # ns of one run, in the order they were taken
    runs_per_sample: int  # runs timed together in one sample, more than 1 only for very fast models
    num_warmup: int  # untimed runs before the first round
    load_ms: float
    converged: bool
    warnings: tuple[MeasurementWarning, ...]
    facts: DeviceFacts  # at the start; `steal_share` is that of the whole sitting
    sitting: Sitting | None = None  # None in records of earlier versions

    def __post_init__(self) -> None:
        if not self.id or not is_sha256(self.model_sha256):
            raise JobError(
                f"a measurement must carry the id and SHA-256 of its model, but {self.id!r} and "
                f"{self.model_sha256!r} came; measure again."
            )
        if not self.rounds or not all(self.rounds):
            raise JobError(f"measurement {self.id!r} must hold runs in every round, but one is empty; measure again.")
        if min(min(samples) for samples in self.rounds) <= 0:
            raise JobError(f"measurement {self.id!r} must hold positive times only, but it does not; measure again.")
        check_count("runs_per_sample", self.runs_per_sample)
        if self.num_warmup < 0 or not 0 <= self.load_ms < float("inf"):
            raise JobError(
                f"measurement {self.id!r} must have num_warmup and load_ms of at least 0, but "
                f"{self.num_warmup!r} and {self.load_ms!r} came; measure again."
            )
        if self.sitting is not None and len(self.sitting.passes) != len(self.rounds):
            raise JobError(
                f"the sitting of measurement {self.id!r} must tell of {len(self.rounds)} rounds, but it tells of "
                f"{len(self.sitting.passes)}; measure again."
            )

    @property
    def key(self) -> tuple[object, ...]:
        """A model with this key is not measured again."""
        return (self.id, self.model_sha256, self.target, self.settings, self.affinity)

    @property
    def num_runs(self) -> int:
        """Samples taken in all rounds."""
        return sum(len(samples) for samples in self.rounds)

    @cached_property
    def median_ms(self) -> float:
        return self._quantile_ms(0.5)

    @cached_property
    def p25_ms(self) -> float:
        return self._quantile_ms(0.25)

    @cached_property
    def p10_ms(self) -> float:
        return self._quantile_ms(0.1)

    @cached_property
    def min_ms(self) -> float:
        return min(min(samples) for samples in self.rounds) / 1e6

    @cached_property
    def mean_ms(self) -> float:
        return sum(sum(samples) for samples in self.rounds) / self.num_runs / 1e6

    @cached_property
    def std_ms(self) -> float:
        """Standard deviation of single runs."""
        return float(np.std(np.concatenate([np.asarray(samples) for samples in self.rounds]))) / 1e6

    @property
    def low_ms(self) -> float:
        return self._interval_ms(0.5)[0]

    @property
    def high_ms(self) -> float:
        return self._interval_ms(0.5)[1]

    @property
    def p25_low_ms(self) -> float:
        return self._interval_ms(0.25)[0]

    @property
    def p25_high_ms(self) -> float:
        return self._interval_ms(0.25)[1]

    def percentile_ms(self, percentile: int) -> float | None:
        """Return the 90th, 95th or 99th percentile of single runs, or None when there are too few."""
        value = percentile_or_none(self.rounds, percentile)
        return None if value is None else value / 1e6

    @cached_property
    def slow_share(self) -> float:
        """Share of runs far above the median of their round."""
        return slow_share(self.rounds)

    def _quantile_ms(self, quantile: float) -> float:
        return float(np.median(round_quantiles(self.rounds, quantile))) / 1e6

    def _interval_ms(self, quantile: float, confidence: float = SEQUENTIAL_CONFIDENCE) -> tuple[float, float]:
        low, high = median_interval(round_quantiles(self.rounds, quantile), confidence)
        return low / 1e6, high / 1e6

    def _summary(self, confidence: float = SEQUENTIAL_CONFIDENCE) -> dict[str, float]:
        low_ms, high_ms = self._interval_ms(0.5, confidence)
        p25_low_ms, p25_high_ms = self._interval_ms(0.25, confidence)
        values = (self.median_ms, low_ms, high_ms, self.p25_ms, p25_low_ms, p25_high_ms)
        return dict(zip(_SUMMARY, values))

    def to_json(self) -> dict[str, Any]:
        """Samples are base64 of zlib of the differences between neighbours, 64-bit little-endian.

        The summary is there for readers of the file; it is checked against the samples when read.
        """
        return {
            "format": FORMAT,
            "id": self.id,
            "model_sha256": self.model_sha256,
            "target": self.target.to_json(),
            "settings": self.settings.to_json(),
            "affinity": None if self.affinity is None else list(self.affinity),
            "round_lengths": [len(samples) for samples in self.rounds],
            "samples": _pack(self.rounds),
            "runs_per_sample": self.runs_per_sample,
            "num_warmup": self.num_warmup,
            "load_ms": float(self.load_ms),
            "converged": self.converged,
            "warnings": [warning.to_json() for warning in self.warnings],
            "facts": self.facts.to_json(),
            "summary": self._summary(),
            "sitting": None if self.sitting is None else self.sitting.to_json(),
        }

    @staticmethod
    def from_json(document: object) -> Measurement:
        """Raises: JobError when a key is unknown, missing or mistyped, or values contradict one another."""
        values = checked_object(document, _FIELDS, "measurement", may_lack=("sitting",))
        format = values.pop("format")
        if format not in _CONFIDENCES:
            check_format(format, FORMAT, "measurement")
        summary = checked_object(values.pop("summary"), dict.fromkeys(_SUMMARY, (float,)), "summary")
        values["rounds"] = _unpack(values.pop("samples"), values.pop("round_lengths"))
        values["target"] = Target.from_json(values["target"])
        values["settings"] = Settings.from_json(values["settings"])
        values["affinity"] = None if values["affinity"] is None else tuple(values["affinity"])
        values["warnings"] = tuple(MeasurementWarning.from_json(warning) for warning in values["warnings"])
        values["facts"] = DeviceFacts.from_json(values["facts"])
        values["sitting"] = None if values.get("sitting") is None else Sitting.from_json(values["sitting"])
        measurement = Measurement(**values)
        for name, computed in measurement._summary(_CONFIDENCES[format]).items():
            stored = summary[name]
            if abs(computed - stored) > 1e-6 * computed:
                raise JobError(
                    f"the summary of measurement {measurement.id!r} must follow from its samples, but "
                    f"{name} is {stored!r} instead of {computed!r}; measure again."
                )
        return measurement


def _pack(rounds: tuple[tuple[int, ...], ...]) -> str:
    samples = np.concatenate([np.asarray(samples, dtype="<i8") for samples in rounds])
    return base64.b64encode(zlib.compress(np.diff(samples, prepend=0).astype("<i8").tobytes(), 6)).decode("ascii")


def _unpack(text: str, lengths: list[object]) -> tuple[tuple[int, ...], ...]:
    if not lengths or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in lengths):
        raise JobError(f"round_lengths must be a list of whole numbers above 0, but {lengths!r} came; measure again.")
    counts = [int(n) for n in lengths if isinstance(n, int)]
    total = sum(counts)
    try:
        packed = base64.b64decode(text, validate=True)
        # One byte more than expected is asked for, so that a longer stream shows without being unpacked.
        raw = zlib.decompressobj().decompress(packed, 8 * total + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise JobError(f"samples must be base64 of zlib data, but they cannot be read ({error}); measure again.") from error
    if len(raw) != 8 * total:
        raise JobError(f"samples must hold {total} times, as round_lengths says, but they do not; measure again.")
    samples = np.cumsum(np.frombuffer(raw, dtype="<i8")).tolist()
    ends = np.cumsum(counts).tolist()
    return tuple(tuple(samples[end - count : end]) for end, count in zip(ends, counts))
