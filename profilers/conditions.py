"""In which state the device was while it measured: clock, temperature, throttling, pauses, other processes.

A sampler reads some numbers between rounds, at most ten times a second and never while a run is timed. What a
device does not tell is None; nothing is invented. The one for CPUs reads files of Linux that any user may
read; a runtime on other hardware brings its own (`SuppliesSampler`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from profilers.device_facts import CpuTimes, control_group_folders, hottest_c, read_mhz, read_number, read_text, temperature_files
from profilers.errors import JobError
from profilers.measurement_warning import MeasurementWarning
from profilers.strict_json import checked_object

_INTERVAL_S = 0.1
_MAX_COST = 0.02  # share of the time that sampling may take
_MAX_SAMPLES = 256
_MAX_CPUS = 16  # reading every CPU of a large server would take longer than a round

_CLOCK_VARIED = 0.03
_HOT_C = 85.0
_HEATED_C = 10.0
_CORES_OF_OTHERS = 0.25  # share of the cores
_SHORTEST_MS = 500  # CPU time is counted in ticks of 10 ms; a shorter span says little


@dataclass(frozen=True)
class Condition:
    """The device at one moment; of counters only the growth means anything."""

    at_ms: int = 0  # since the sitting began
    clock_mhz: float | None = None  # of what models run on
    temperature_c: float | None = None  # of the hottest part
    power_w: float | None = None  # of a card, or of a whole board
    throttle_reasons: float | None = None  # of an NVIDIA card: the bits of NVML, 0 while nothing holds its clocks back
    num_throttled: float | None = None  # counts how often the device slowed itself down: heat, power, current
    paused_ms: float | None = None  # counts how long a CPU quota held the process back
    stolen_ms: float | None = None  # counts CPU time that the hypervisor gave to other machines
    others_ms: float | None = None  # counts CPU time of other processes


_COLUMNS = tuple(field.name for field in fields(Condition))
_COUNTERS = ("num_throttled", "paused_ms", "stolen_ms", "others_ms")


class ConditionSampler(Protocol):
    """Reads the state of a device."""

    def sample(self) -> Condition:
        """Read it now, in a few ms at most; `at_ms` is filled in by the caller."""


@runtime_checkable
class SuppliesSampler(Protocol):
    """A runtime whose models run where the Linux files say nothing: a GPU, a board."""

    def open_sampler(self) -> ConditionSampler:
        """Make a sampler for the device that models run on."""


def sampler_of(runtime: object) -> ConditionSampler:
    """The runtime's own sampler, else that of the CPU."""
    return runtime.open_sampler() if isinstance(runtime, SuppliesSampler) else CpuSampler()


class CpuSampler:
    """The CPUs that this process may use, under Linux; elsewhere it finds nothing to read."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Find out once which files are there; `root` is where `/proc` and `/sys` are."""
        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
        folders = [root / f"sys/devices/system/cpu/cpu{cpu}" for cpu in cpus[:_MAX_CPUS]]
        self._root = root
        self._cpu_folders = [folder for folder in folders if folder.is_dir()]
        self._temperatures = temperature_files(root)
        self._throttle_counts = [
            path for folder in self._cpu_folders for path in sorted((folder / "thermal_throttle").glob("*_throttle_count"))
        ]
        firmware = root / "sys/devices/platform/soc/soc:firmware/get_throttled"  # Raspberry Pi
        self._firmware = firmware if firmware.is_file() else None
        self._num_firmware = 0
        self._quota_stats = [path for folder in control_group_folders(root) for path in [folder / "cpu.stat"] if path.is_file()]

    def sample(self) -> Condition:
        times = CpuTimes.read(self._root)
        ours = os.times()
        tick_ms = 1000.0 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 10.0
        return Condition(
            clock_mhz=read_mhz(self._root, self._cpu_folders),
            temperature_c=hottest_c(map(read_number, self._temperatures)),
            num_throttled=self._num_throttled(),
            paused_ms=_sum(map(_paused_ms, self._quota_stats)),
            stolen_ms=None if times is None else times.steal * tick_ms,
            others_ms=None if times is None else times.busy * tick_ms - 1000.0 * (ours.user + ours.system),
        )

    def _num_throttled(self) -> float | None:
        if self._firmware is not None:
            # Bits 0 to 3 are the state of now: low voltage, capped clock, throttled, soft limit of temperature.
            self._num_firmware += (read_text(self._firmware) or "0")[-1] != "0"
        counts = [read_number(path) for path in self._throttle_counts]
        return _sum([*counts, None if self._firmware is None else float(self._num_firmware)])


class ConditionRecorder:
    """Samples when it is time to; a long sitting is sampled less and less often, so that its record stays small."""

    def __init__(self, sampler: ConditionSampler, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin at 0 ms; the clock counts seconds."""
        self._sampler, self._clock = sampler, clock
        self._start_s = self._due_s = clock()
        self._interval_s = _INTERVAL_S
        self._samples: list[Condition] = []

    def observe(self) -> None:
        """Take a sample if one is due."""
        if self._clock() >= self._due_s:
            self._sample()

    def samples(self) -> tuple[Condition, ...]:
        """All samples up to now, and one of now; counters begin at 0."""
        self._sample()
        return tuple(_since(self._samples[0], sample) for sample in self._samples)

    def _sample(self) -> None:
        if len(self._samples) >= _MAX_SAMPLES:
            del self._samples[1::2]
            self._interval_s *= 2
        before_s = self._clock()
        self._samples.append(replace(self._sampler.sample(), at_ms=round(1000 * (before_s - self._start_s))))
        now_s = self._clock()
        self._due_s = now_s + max(self._interval_s, (now_s - before_s) / _MAX_COST)


def _since(first: Condition, sample: Condition) -> Condition:
    changes: dict[str, Any] = {}
    for name in _COLUMNS[1:]:
        value, start = getattr(sample, name), getattr(first, name) if name in _COUNTERS else 0.0
        changes[name] = None if value is None or start is None else round(value - start, 3)
    return replace(sample, **changes)


def condition_warnings(samples: Sequence[Condition], num_cores: int) -> Iterator[MeasurementWarning]:
    """What in these samples makes latencies doubtful; a quota is told of by `warnings_of`, which knows its size."""
    clocks = sorted(sample.clock_mhz for sample in samples if sample.clock_mhz is not None)
    if len(clocks) >= 3:
        tenth = len(clocks) // 10
        low, high = clocks[tenth], clocks[-1 - tenth]
        if high - low > _CLOCK_VARIED * high:
            yield MeasurementWarning(
                "clock_varied",
                f"the clock moved between {low:.0f} and {high:.0f} MHz; fix it (governor 'performance', turbo off)",
            )
    num_throttled = grown(samples, "num_throttled")
    if num_throttled:
        yield MeasurementWarning(
            "throttled",
            f"the device slowed itself down {num_throttled:.0f} time(s), for heat or for power; cool it or feed it better",
        )
    heat = [sample.temperature_c for sample in samples if sample.temperature_c is not None]
    if heat and (max(heat) >= _HOT_C or max(heat) - heat[0] >= _HEATED_C):
        yield MeasurementWarning(
            "temperature",
            f"the device went from {heat[0]:.0f} to {max(heat):.0f} degrees Celsius; let it cool, or warm up for longer",
        )
    cores = cores_of_others(samples)
    if cores is not None and cores > _CORES_OF_OTHERS * num_cores:
        yield MeasurementWarning("load", f"other processes kept {cores:.1f} of {num_cores} core(s) busy; stop them")


def grown(samples: Sequence[Condition], name: str) -> float | None:
    """By how much a counter grew between the first and the last sample; None where the device does not tell."""
    values = [getattr(sample, name) for sample in samples]
    return None if not values or values[0] is None or values[-1] is None else max(0.0, values[-1] - values[0])


def share_paused(samples: Sequence[Condition]) -> float | None:
    """Share of the time that a CPU quota held the process back; None where the device does not tell."""
    paused_ms = grown(samples, "paused_ms")
    return None if paused_ms is None else paused_ms / max(1, _span_ms(samples))


def cores_of_others(samples: Sequence[Condition]) -> float | None:
    """Cores that other processes kept busy on average; None where it is unknown, or the span too short to tell."""
    others_ms = grown(samples, "others_ms")
    return None if others_ms is None or _span_ms(samples) < _SHORTEST_MS else others_ms / _span_ms(samples)


def samples_to_json(samples: Sequence[Condition]) -> dict[str, Any]:
    """Columns, without those that the device does not tell."""
    document: dict[str, Any] = {}
    for name in _COLUMNS:
        values = [getattr(sample, name) for sample in samples]
        if any(value is not None for value in values):
            document[name] = values
    return document


def samples_from_json(document: object) -> tuple[Condition, ...]:
    """Raises: JobError when a column is unknown, is not as long as the others, or holds anything but numbers and null."""
    columns = checked_object(document, dict.fromkeys(_COLUMNS, (list,)), "conditions", may_lack=_COLUMNS)
    counts = {len(values) for values in columns.values()}
    if len(counts) > 1 or not all(_is_column(name, values) for name, values in columns.items()):
        raise JobError("conditions must be columns of numbers or null, all of one length, but they are not; measure again.")
    return tuple(Condition(**dict(zip(columns, row))) for row in zip(*columns.values()))


def _is_column(name: str, values: list[object]) -> bool:
    if name == "at_ms":
        return all(type(value) is int for value in values)
    return all(value is None or type(value) in (int, float) for value in values)


def _span_ms(samples: Sequence[Condition]) -> int:
    return samples[-1].at_ms - samples[0].at_ms


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _paused_ms(path: Path) -> float | None:
    """Read the `cpu.stat` of a control group: `throttled_usec` in version 2, `throttled_time` in ns in version 1."""
    words = (read_text(path) or "").split()
    values = dict(zip(words[::2], words[1::2]))
    for name, unit_ms in (("throttled_usec", 1e-3), ("throttled_time", 1e-6)):
        if values.get(name, "").isdigit():
            return int(values[name]) * unit_ms
    return None
