"""Where a model runs: device, runtime, version, precision, threads, power mode and batch."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from profilers.errors import JobError
from profilers.strict_json import checked_object

PRECISIONS = ("fp32", "fp16", "int8")

_FIELDS = {
    "device": (str,),
    "runtime": (str,),
    "runtime_version": (str,),
    "precision": (str,),
    "threads": (int,),
    "power_mode": (str,),
    "batch_size": (int,),
    "timing_mode": (str,),
}


@dataclass(frozen=True)
class Target:
    """Latencies compare only within one target."""

    device: str  # "amd-epyc-2c", "jetson-orin-nano-8gb"
    runtime: str  # "onnxruntime"
    runtime_version: str  # "1.31.0"
    precision: str  # one of PRECISIONS; it is a property of the ONNX graph, the runtime does not convert
    threads: int
    power_mode: str = "default"
    batch_size: int = 1
    timing_mode: str = "default"  # how a run is made and what of it is timed, of runtimes that have a choice: "gpu/graph/..."

    def __post_init__(self) -> None:
        for name in ("device", "runtime", "runtime_version", "power_mode", "timing_mode"):
            if not slug(getattr(self, name)):
                raise JobError(f"target.{name} must hold letters or digits, but {getattr(self, name)!r} came; name it.")
        check_precision(self.precision)
        check_count("threads", self.threads)
        check_count("batch_size", self.batch_size)

    @property
    def key(self) -> str:
        """Name for folders and tables: `amd-epyc-2c.onnxruntime-1.31.0.fp32.t1.b1`."""
        parts = [slug(self.device), f"{slug(self.runtime)}-{slug(self.runtime_version, keep='.')}"]
        parts += [self.precision, f"t{self.threads}"]
        if self.power_mode != "default":
            parts.append(slug(self.power_mode))
        if self.timing_mode != "default":
            parts.append(slug(self.timing_mode))
        return ".".join([*parts, f"b{self.batch_size}"])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(document: object) -> Target:
        """Raises: JobError when a key is unknown, missing or mistyped, or a value is not allowed."""
        return Target(**checked_object(document, _FIELDS, "target", may_lack=("timing_mode",)))


def slug(text: str, *, keep: str = "") -> str:
    """Lower-case letters and digits joined by single hyphens; characters of `keep` stay."""
    return re.sub(f"[^a-z0-9{re.escape(keep)}]+", "-", text.lower()).strip("-.")


def check_precision(precision: str) -> None:
    """Raises: JobError unless the precision is one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise JobError(f"precision must be one of {', '.join(PRECISIONS)}, but {precision!r} came; choose one.")


def check_count(name: str, value: int) -> None:
    """Raises: JobError unless the value is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise JobError(f"{name} must be a whole number of at least 1, but {value!r} came; correct it.")
