"""What an Android phone tells about itself: files of Linux, `getprop`, and `dumpsys` of Android 10 and newer.

One script asks everything at once, since every command over adb costs some hundredths of a second; what a phone does not tell, or
does not let the user `shell` see, stays None.

Formats: `dumpsys thermalservice` prints "Thermal Status: 0" and lines "Temperature{mValue=36.5, mType=0, mName=CPU0, mStatus=0}"
(status 0 none, 1 light, 2 moderate, 3 severe); `dumpsys battery` prints "  level: 85" and
the temperature in tenths of a degree; `dumpsys power` prints "mWakefulness=Awake".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from profilers.device_facts import DeviceFacts

_MARK = "==natdeploy=="
_FACTS = {
    "manufacturer": "getprop ro.product.manufacturer",
    "model": "getprop ro.product.model",
    "soc": "getprop ro.soc.model; getprop ro.board.platform",
    "android": "getprop ro.build.version.release",
    "uname": "uname -srm",
    "cpus": 'for c in /sys/devices/system/cpu/cpu[0-9]*; do echo "${c##*/}" $(cat $c/cpufreq/cpuinfo_max_freq)'
    " $(cat $c/cpufreq/scaling_governor); done",
    "load": "cat /proc/loadavg",
    "memory": "grep MemAvailable /proc/meminfo",
    "thermal": "dumpsys thermalservice",
    "battery": "dumpsys battery",
    "power": "dumpsys power | grep -m1 mWakefulness=",
    "saver": "settings get global low_power",
}
_TEMPERATURES = ("0", "1", "2", "3", "9")  # of the CPU, the GPU, the battery, the skin and the neural processor
_CONDITIONS = {"limits": "cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq", "thermal": "dumpsys thermalservice"}


@dataclass(frozen=True)
class Cluster:
    """Cores of one kind."""

    cpus: tuple[int, ...]
    max_mhz: float | None

    def __str__(self) -> str:
        cpus = f"{self.cpus[0]}-{self.cpus[-1]}" if len(self.cpus) > 1 else str(self.cpus[0])
        return cpus if self.max_mhz is None else f"{cpus} at {self.max_mhz:.0f} MHz"


@dataclass(frozen=True)
class Heat:
    """How hot a phone says it is."""

    status: int | None  # 0 none, 1 light, 2 moderate, 3 severe, ...
    hottest_c: float | None
    battery_c: float | None


def facts_script() -> str:
    """Shell commands that `facts_of` reads the output of."""
    return _script(_FACTS)


def conditions_script() -> str:
    """Shell commands that `limit_and_heat_of` reads the output of."""
    return _script(_CONDITIONS)


def facts_of(output: str, runtime: str | None = None, runtime_version: str | None = None) -> DeviceFacts:
    """The facts of a phone, in the form they have for every device."""
    texts = _sections(output)
    clusters = _clusters(texts["cpus"])
    heat, battery = heat_of(texts["thermal"]), _colon_values(texts["battery"])
    kernel, _, machine = texts["uname"].rpartition(" ")
    android = texts["android"]
    battery_c = _number(battery.get("temperature"))
    return DeviceFacts(
        board=_board(texts["manufacturer"], texts["model"]),
        cpu_model=texts["soc"].split("\n")[0] or "unknown",
        machine=machine or "unknown",
        num_cores=sum(len(cluster.cpus) for cluster in clusters) or 1,
        governor=_governor(texts["cpus"]),
        turbo=None,
        cpu_mhz=None,  # cores are idle when it could be read
        load_average=_number(texts["load"]),
        cpu_quota_cores=None,
        steal_share=None,
        free_ram_mb=_thousandth(_number(texts["memory"].partition(":")[2])),
        temperature_c=heat.hottest_c,
        kernel=f"{kernel} (Android {android})" if android else kernel or "unknown",
        python="none",
        runtime=runtime,
        runtime_version=runtime_version,
        cpu_clusters=", ".join(map(str, clusters)) or None,
        thermal_status=heat.status,
        battery_c=heat.battery_c if battery_c is None else battery_c / 10,
        battery_percent=_number(battery.get("level")),
        is_charging=any(value == "true" for name, value in battery.items() if name.endswith("powered")) if battery else None,
        is_saving_power={"0": False, "1": True}.get(texts["saver"]),
        is_screen_on=texts["power"].endswith("=Awake") if texts["power"] else None,
    )


def limit_and_heat_of(output: str) -> tuple[float | None, Heat]:
    """The highest clock in MHz that some core may reach now, which falls when a phone slows itself down, and its heat."""
    texts = _sections(output)
    limits = [float(word) / 1000 for word in texts["limits"].split() if word.isdigit()]
    return max(limits, default=None), heat_of(texts["thermal"])


def heat_of(text: str) -> Heat:
    """Read what `dumpsys thermalservice` printed."""
    status = re.search(r"Thermal Status:\s*(\d+)", text)
    _, mark, current = text.partition("Current temperatures from HAL:")
    # Cached ones may be old; voltages and currents stand among them, as kinds of their own.
    found = re.findall(r"Temperature\{mValue=(-?\d+(?:\.\d+)?), mType=(\d+),", current if mark else text)
    degrees = [(int(kind), float(value)) for value, kind in found if kind in _TEMPERATURES and 0 < float(value) < 150]
    return Heat(
        None if status is None else int(status.group(1)),
        max((value for _, value in degrees), default=None),
        next((value for kind, value in degrees if kind == 2), None),
    )


def _script(commands: Mapping[str, str]) -> str:
    return "; ".join(f"echo {_MARK}{name}; {{ {command}; }} 2>/dev/null" for name, command in commands.items())


def _sections(output: str) -> dict[str, str]:
    parts = [part.partition("\n") for part in output.replace("\r", "").split(_MARK)[1:]]
    texts = dict.fromkeys((*_FACTS, *_CONDITIONS), "")
    return {**texts, **{name.strip(): text.strip() for name, _, text in parts}}


def _clusters(text: str) -> list[Cluster]:
    """Group "cpu0 1803000 schedutil" by clock; cores that are switched off tell none."""
    rows = sorted(
        (int(name[3:]), _thousandth(_number(rest))) for name, _, rest in (row.partition(" ") for row in text.split("\n") if row)
    )
    return [Cluster(tuple(cpu for cpu, _ in group), mhz) for mhz, group in groupby(rows, key=lambda row: row[1])]


def _governor(text: str) -> str | None:
    """That of the last core, which is one of the fast ones."""
    words = [row.split() for row in text.split("\n")]
    return next((row[2] for row in reversed(words) if len(row) == 3), None)


def _board(manufacturer: str, model: str) -> str | None:
    if model.lower().startswith(manufacturer.lower()):
        return model or None
    return f"{manufacturer[:1].upper()}{manufacturer[1:]} {model}".strip() or None


def _colon_values(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.split("\n") if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _number(text: str | None) -> float | None:
    found = re.match(r"\s*(-?\d+(\.\d+)?)", text or "")
    return float(found.group(1)) if found else None


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000
