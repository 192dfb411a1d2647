"""Facts about the device that are kept beside its latencies.

Everything is read from files that any user may read; a fact that the device does not tell is None. The host
name is not recorded.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from profilers.measurement_warning import MeasurementWarning
from profilers.power_mode import DEFAULT, active_power_mode
from profilers.strict_json import OPTIONAL, checked_object
from profilers.target import slug

_FIELDS = {
    "board": (str, OPTIONAL),
    "cpu_model": (str,),
    "machine": (str,),
    "num_cores": (int,),
    "governor": (str, OPTIONAL),
    "turbo": (bool, OPTIONAL),
    "cpu_mhz": (float, OPTIONAL),
    "load_average": (float, OPTIONAL),
    "cpu_quota_cores": (float, OPTIONAL),
    "steal_share": (float, OPTIONAL),
    "free_ram_mb": (float, OPTIONAL),
    "temperature_c": (float, OPTIONAL),
    "kernel": (str,),
    "python": (str,),
    "runtime": (str, OPTIONAL),
    "runtime_version": (str, OPTIONAL),
    "power_mode": (str, OPTIONAL),
    "clocks_locked": (bool, OPTIONAL),
    "l4t": (str, OPTIONAL),
    "accelerator": (str, OPTIONAL),
    "cpu_clusters": (str, OPTIONAL),
    "thermal_status": (int, OPTIONAL),
    "battery_c": (float, OPTIONAL),
    "battery_percent": (float, OPTIONAL),
    "is_charging": (bool, OPTIONAL),
    "is_saving_power": (bool, OPTIONAL),
    "is_screen_on": (bool, OPTIONAL),
}
_NEW = tuple(_FIELDS)[-11:]  # recordings from before lack them
_WARM_BATTERY_C = 37.0  # as in react-native-executorch


@dataclass(frozen=True)
class DeviceFacts:
    """The device at one moment."""

    board: str | None  # "Raspberry Pi 5 Model B Rev 1.0"; None on a PC
    cpu_model: str
    machine: str  # "x86_64", "aarch64"
    num_cores: int
    governor: str | None
    turbo: bool | None
    cpu_mhz: float | None  # of the first core, now
    load_average: float | None  # over the last minute
    cpu_quota_cores: float | None  # limit of the container in cores; None without a limit
    steal_share: float | None  # CPU time the hypervisor gave away, of a span that the reader of the fact names
    free_ram_mb: float | None
    temperature_c: float | None  # of the hottest zone
    kernel: str
    python: str
    runtime: str | None
    runtime_version: str | None
    power_mode: str | None = None  # of a Jetson, number and name: "2-15w"
    clocks_locked: bool | None = None  # every clock that can move has one value left, as after `jetson_clocks`
    l4t: str | None = None  # release of the software of a Jetson: "36.4.3"
    accelerator: str | None = None  # what the runtime computes on, where it is not part of the board: "NVIDIA H200"
    # The rest is of phones.
    cpu_clusters: str | None = None  # "0-3 at 1803 MHz, 4-6 at 2348 MHz, 7 at 2850 MHz"
    thermal_status: int | None = None  # 0 none, 1 light, 2 moderate, 3 severe; from 1 on the phone slows itself down
    battery_c: float | None = None
    battery_percent: float | None = None
    is_charging: bool | None = None
    is_saving_power: bool | None = None  # the user asked for it, and clocks are lower
    is_screen_on: bool | None = None

    @property
    def device(self) -> str:
        """Name of the device in a target: the board, else the accelerator, else the CPU and its number of cores."""
        return slug(self.board or self.accelerator or f"{self.cpu_model} {self.num_cores}c")

    @property
    def target_power_mode(self) -> str:
        """Name of the power mode in a target."""
        return self.power_mode or DEFAULT

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(document: object) -> DeviceFacts:
        """Raises: JobError when a key is unknown, missing or mistyped."""
        return DeviceFacts(**checked_object(document, _FIELDS, "facts", may_lack=_NEW))


@dataclass(frozen=True)
class CpuTimes:
    """CPU time of the whole machine since it started, in clock ticks."""

    total: int
    steal: int
    busy: int = 0  # by processes and the kernel

    @staticmethod
    def read(root: Path = Path("/")) -> CpuTimes | None:
        """Read the counters, or return None where there are none (only Linux has them)."""
        words = (read_text(root / "proc/stat") or "").split("\n", 1)[0].split()
        if len(words) < 9 or words[0] != "cpu":
            return None
        ticks = [int(word) for word in words[1:9]]  # the guest columns that follow are counted in user already
        user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
        return CpuTimes(total=sum(ticks), steal=steal, busy=user + nice + system + irq + softirq)


def steal_share(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    """Share of CPU time between two readings that the hypervisor gave to other machines; None if unknown."""
    if before is None or after is None or after.total <= before.total:
        return None
    return max(0, after.steal - before.steal) / (after.total - before.total)


def read_facts(runtime: str | None = None, runtime_version: str | None = None, *, root: Path = Path("/")) -> DeviceFacts:
    """Read the facts of this device.

    Args:
        runtime: Name of the runtime in use, recorded as it is.
        runtime_version: Its version.
        root: Where `/proc` and `/sys` are; another folder in tests.
    """
    cpu = root / "sys/devices/system/cpu/cpu0"
    return DeviceFacts(
        board=_board(root),
        cpu_model=_cpu_model(root),
        machine=platform.machine(),
        num_cores=os.cpu_count() or 1,
        governor=read_text(cpu / "cpufreq/scaling_governor"),
        turbo=_turbo(root),
        cpu_mhz=read_mhz(root, [cpu]),
        load_average=_load_average(root),
        cpu_quota_cores=_cpu_quota_cores(root),
        steal_share=None,
        free_ram_mb=_free_ram_mb(root),
        temperature_c=hottest_c(map(read_number, temperature_files(root))),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        runtime=runtime,
        runtime_version=runtime_version,
        power_mode=active_power_mode(),
        clocks_locked=_clocks_locked(root),
        l4t=_l4t(root),
    )


def warnings_of(facts: DeviceFacts, *, share_paused: float | None = None) -> tuple[MeasurementWarning, ...]:
    """Return what in these facts makes latencies doubtful.

    Args:
        facts: Of the device.
        share_paused: Share of the time that a CPU quota held the process back, where it is known: a quota that never did is none.
    """
    found = []
    if facts.governor not in (None, "performance"):
        found.append(
            MeasurementWarning(
                "governor",
                f"the CPU governor is {facts.governor!r}, so the clock may move; 'performance' gives steadier times",
            )
        )
    if facts.cpu_quota_cores is not None and facts.cpu_quota_cores < facts.num_cores and share_paused != 0:
        how_long = "" if share_paused is None else f" {share_paused:.1%} of the time"
        found.append(
            MeasurementWarning(
                "cgroup_quota",
                f"the container may use {facts.cpu_quota_cores:g} of {facts.num_cores} cores, "
                f"which pauses runs{how_long}; measure without a CPU quota",
            )
        )
    if facts.steal_share is not None and facts.steal_share > 0.01:
        found.append(
            MeasurementWarning(
                "steal_time",
                f"the hypervisor took {facts.steal_share:.1%} of the CPU time; measure on a machine of its own",
            )
        )
    return (*found, *_warnings_of_phone(facts))


def _warnings_of_phone(facts: DeviceFacts) -> Iterator[MeasurementWarning]:
    if facts.thermal_status:
        yield MeasurementWarning(
            "throttled", f"the phone was at thermal status {facts.thermal_status} and slowed itself down; let it cool to status 0"
        )
    if facts.battery_c is not None and facts.battery_c > _WARM_BATTERY_C:
        yield MeasurementWarning(
            "temperature",
            f"the battery had {facts.battery_c:.0f} degrees Celsius, and above {_WARM_BATTERY_C:.0f} phones soon slow down; let it cool",
        )
    if facts.is_saving_power:
        yield MeasurementWarning("governor", "the phone was saving power, which lowers its clocks; switch battery saver off")


def read_text(path: Path) -> str | None:
    """Text of a file of the system without the space around it; None where it is missing, secret or empty."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").replace("\0", "").strip() or None
    except OSError:
        return None


def read_number(path: Path) -> float | None:
    """The number that a file begins with, or None."""
    return _number(read_text(path))


def _number(text: str | None) -> float | None:
    match = re.match(r"-?\d+(\.\d+)?", text or "")
    return float(match.group()) if match else None


def _colon_value(text: str | None, *names: str) -> str | None:
    """Find the first `name : value` line of a file such as /proc/cpuinfo."""
    for name in names:
        match = re.search(rf"^{re.escape(name)}\s*:\s*(\S.*)$", text or "", re.MULTILINE)
        if match:
            return match.group(1).strip()
    return None


def _board(root: Path) -> str | None:
    return read_text(root / "proc/device-tree/model") or read_text(root / "sys/firmware/devicetree/base/model")


def _cpu_model(root: Path) -> str:
    text = read_text(root / "proc/cpuinfo")
    return _colon_value(text, "model name", "Model", "Hardware", "cpu model") or platform.processor() or "unknown cpu"


def read_mhz(root: Path, cpu_folders: Sequence[Path]) -> float | None:
    """Clock of the fastest of these CPUs in MHz, of the first CPU of all where the single ones do not tell."""
    readings = [read_number(folder / "cpufreq/scaling_cur_freq") for folder in cpu_folders]
    khz = max((value for value in readings if value is not None), default=None)
    if khz is not None:
        return khz / 1000
    try:
        with (root / "proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            text = file.read(4096)  # on large servers the whole file takes long to make
    except OSError:
        return None
    return _number(_colon_value(text, "cpu MHz"))


def _turbo(root: Path) -> bool | None:
    no_turbo = read_text(root / "sys/devices/system/cpu/intel_pstate/no_turbo")
    if no_turbo is not None:
        return no_turbo == "0"
    boost = read_text(root / "sys/devices/system/cpu/cpufreq/boost")
    return None if boost is None else boost == "1"


def _clocks_locked(root: Path) -> bool | None:
    """Whether the lowest allowed frequency is the highest, of every CPU and of the GPU of a Jetson."""
    limits = [(read_text(place / "scaling_min_freq"), read_text(place / "scaling_max_freq"))
              for place in root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq")]  # fmt: skip
    limits += [(read_text(place / "min_freq"), read_text(place / "max_freq"))
               for place in gpu_clock_folders(root)]  # fmt: skip
    known = [(low, high) for low, high in limits if low is not None and high is not None]
    return all(low == high for low, high in known) if known else None


def gpu_clock_folders(root: Path) -> list[Path]:
    """Folders of the clock of a Jetson's GPU: `17000000.ga10b`, `17000000.gpu` and the like."""
    folders = sorted(root.glob("sys/class/devfreq/*"))
    return [folder for folder in folders if re.search(r"gpu|gv11b|ga10b|gp10b|gm20b", folder.name)]


def _l4t(root: Path) -> str | None:
    """Read `# R36 (release), REVISION: 4.3, ...`."""
    match = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", read_text(root / "etc/nv_tegra_release") or "")
    return f"{match.group(1)}.{match.group(2)}" if match else None


def _load_average(root: Path) -> float | None:
    return _number(read_text(root / "proc/loadavg"))


def _free_ram_mb(root: Path) -> float | None:
    kilobytes = _number(_colon_value(read_text(root / "proc/meminfo"), "MemAvailable"))
    return None if kilobytes is None else kilobytes / 1024


def temperature_files(root: Path) -> list[Path]:
    """Files that hold temperatures in thousandths of a degree Celsius."""
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
    # That of a Jetson's power chip always says 100 degrees.
    return [zone / "temp" for zone in zones if read_text(zone / "type") != "PMIC-Die" and (zone / "temp").exists()]


def hottest_c(values: Iterable[float | None]) -> float | None:
    """Highest of these readings, given in thousandths of a degree; None if there is none."""
    # Zones that are switched off report 0 or large negative numbers.
    return max((value / 1000 for value in values if value is not None and value > 0), default=None)


def _cpu_quota_cores(root: Path) -> float | None:
    """Smallest CPU quota on the way from this process's control group up to the root."""
    quotas = [read(folder) for folder in control_group_folders(root) for read in (_quota_v2, _quota_v1)]
    return min((quota for quota in quotas if quota is not None), default=None)


def control_group_folders(root: Path) -> list[Path]:
    """Folders of the control groups that share out CPU time, from that of this process up to the root."""
    folders: list[Path] = []
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, controllers_and_path = line.partition(":")
        controllers, _, group = controllers_and_path.partition(":")
        if controllers == "":
            base = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            base = root / "sys/fs/cgroup/cpu"
        else:
            continue
        folder = base / group.lstrip("/")
        folders += [place for place in (folder, *folder.parents) if base == place or base in place.parents]
    return folders


def _quota_v2(folder: Path) -> float | None:
    words = (read_text(folder / "cpu.max") or "max").split()
    return None if words[0] == "max" or len(words) != 2 else float(words[0]) / float(words[1])


def _quota_v1(folder: Path) -> float | None:
    quota, period = _number(read_text(folder / "cpu.cfs_quota_us")), _number(read_text(folder / "cpu.cfs_period_us"))
    return quota / period if quota is not None and period and quota > 0 else None
