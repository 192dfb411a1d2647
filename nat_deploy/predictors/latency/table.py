"""The latency table: what was measured on one target for one space. Its file is described in `latency_tables/README.md`."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from nat_deploy.errors import InputError
from nat_deploy.spaces import Architecture, Block
from profilers.device_facts import DeviceFacts
from profilers.measurement import Measurement
from profilers.target import Target

Statistic = Literal["p25", "median"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)

Source = Literal["measured", "kit", "once-for-all"]
"""Who measured: natdeploy itself, somebody by hand with a kit, or the authors of Once-for-all, who published their tables."""

_Z95 = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One measured graph: ms of one batch, each statistic with its 95 % interval over rounds.

    `p25_ms`, the first quartile of the runs, is what predictors learn and compare: noise of a busy host only ever adds time,
    and moves it least. `median_ms` is what users know from other tools.

    Where others measured, often one figure is all that was written down, a mean or a median. Then `single` is true, the figure stands
    for both statistics, and `converged` is false, since nobody can tell.
    """

    p25_ms: float
    p25_low_ms: float
    p25_high_ms: float
    median_ms: float
    low_ms: float
    high_ms: float
    num_runs: int
    converged: bool = True
    single: bool = False

    def __post_init__(self) -> None:
        for low, value, high in ((self.p25_low_ms, self.p25_ms, self.p25_high_ms), (self.low_ms, self.median_ms, self.high_ms)):
            if not (0 < low <= value <= high and math.isfinite(high)):
                raise ValueError(
                    f"a latency must be positive and lie inside its interval, but {value} ms came with {low}..{high} ms"
                )
        if self.p25_ms > self.median_ms:
            raise ValueError(f"the first quartile must not exceed the median, but {self.p25_ms} ms and {self.median_ms} ms came")
        if self.single and (self.p25_low_ms, self.p25_ms, self.p25_high_ms) != (self.low_ms, self.median_ms, self.high_ms):
            raise ValueError(f"a single figure must stand for both statistics, but {self.p25_ms} ms and {self.median_ms} ms came")
        if self.num_runs < 1:
            raise ValueError(f"num_runs must be at least 1, but it is {self.num_runs}")

    @classmethod
    def of(cls, measurement: Measurement) -> "Timing":
        """The summary of a measurement; its intervals come from few rounds, so they are widened to hold their own estimate."""
        m = measurement
        return cls(
            p25_ms=m.p25_ms,
            p25_low_ms=min(m.p25_low_ms, m.p25_ms),
            p25_high_ms=max(m.p25_high_ms, m.p25_ms),
            median_ms=m.median_ms,
            low_ms=min(m.low_ms, m.median_ms),
            high_ms=max(m.high_ms, m.median_ms),
            num_runs=m.num_runs,
            converged=m.converged,
        )

    @classmethod
    def of_figure(cls, ms: float, *, std_ms: float = 0.0, num_runs: int = 1) -> "Timing":
        """One figure that somebody wrote down, in ms.

        Its interval follows from `std_ms`, the standard deviation of `num_runs` runs, as if they were independent; without one
        it has no width, which says that nothing is known and not that the figure is exact.
        """
        half_ms = min(_Z95 * std_ms / math.sqrt(num_runs), 0.9 * ms)
        low, high = ms - half_ms, ms + half_ms
        return cls(
            p25_ms=ms, p25_low_ms=low, p25_high_ms=high, median_ms=ms, low_ms=low, high_ms=high,
            num_runs=num_runs, converged=False, single=True,
        )  # fmt: skip

    def value_ms(self, statistic: Statistic) -> float:
        return self.p25_ms if statistic == "p25" else self.median_ms

    def interval_ms(self, statistic: Statistic) -> tuple[float, float]:
        return (self.p25_low_ms, self.p25_high_ms) if statistic == "p25" else (self.low_ms, self.high_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEntry:
    """A block measured alone, as one graph; the session overhead is still in it."""

    block: Block
    timing: Timing
    sitting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkEntry:
    """A whole network measured; the same architecture may have been measured in several sittings."""

    architecture: Architecture
    timing: Timing
    sitting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OverheadEntry:
    """A graph that does nothing: what every call of the runtime costs."""

    timing: Timing
    sitting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a table comes from."""

    created: str  # ISO 8601, UTC
    natdeploy_version: str
    seed: int
    source: Source = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable:
    """Measured latencies of one target and one space, all in ms of one batch of `target.batch_size`.

    A sitting is a group of graphs measured interleaved; only within one are latencies free of the device's drift. `facts` are None
    where nobody wrote down what the device is.
    """

    target: Target
    facts: DeviceFacts | None
    space: str
    num_classes: int
    provenance: Provenance
    blocks: tuple[BlockEntry, ...] = ()
    networks: tuple[NetworkEntry, ...] = ()
    overheads: tuple[OverheadEntry, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def num_networks(self) -> int:
        """How many different networks there are; some may have been measured in several sittings."""
        return len({entry.architecture for entry in self.networks})

    @property
    def num_sittings(self) -> int:
        entries: tuple[BlockEntry | NetworkEntry | OverheadEntry, ...] = (*self.blocks, *self.networks, *self.overheads)
        return max((entry.sitting + 1 for entry in entries), default=0)

    def extended(
        self,
        target: Target,
        *,
        blocks: Iterable[BlockEntry] = (),
        networks: Iterable[NetworkEntry] = (),
        overheads: Iterable[OverheadEntry] = (),
        warnings: Iterable[str] = (),
    ) -> "LatencyTable":
        """The table with more entries.

        Raises:
            InputError: The entries were measured on another target.
        """
        if target != self.target:
            raise InputError(
                f"a latency table must hold one target, but it is of '{self.target.key}' "
                f"and the new latencies are of '{target.key}'; "
                "write them into a table of their own"
            )
        return replace(
            self,
            blocks=(*self.blocks, *blocks),
            networks=(*self.networks, *networks),
            overheads=(*self.overheads, *overheads),
            warnings=tuple(dict.fromkeys((*self.warnings, *warnings))),
        )


def table_path(folder: Path, target: Target, space: str) -> Path:
    """Where the table of a target and a space lies inside a folder of tables."""
    return folder / target.key / f"{space}.json"
