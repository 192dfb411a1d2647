"""In which state an NVIDIA GPU is: NVML on cards, files of Linux on a Jetson; the rest of the sample is of the host's CPUs.

NVML is part of the driver and is called directly, so no Python package is needed. On a Jetson, where NVML tells little, what
`tegrastats` prints is read from the same files that it reads. Both take a few ms at most and are read between rounds only.

Sources: NVML API, https://docs.nvidia.com/deploy/nvml-api; rails, zones and over-current counters, Jetson Linux Developer Guide,
"Platform Power and Performance".
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_uint, c_ulonglong, c_void_p
from dataclasses import replace
from pathlib import Path
from typing import Any

from profilers.conditions import Condition, ConditionSampler, CpuSampler
from profilers.device_facts import gpu_clock_folders, read_number, read_text

_LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
_FUNCTIONS = {
    "nvmlInit_v2": (),
    "nvmlDeviceGetHandleByPciBusId_v2": (c_char_p, POINTER(c_void_p)),
    "nvmlDeviceGetClockInfo": (c_void_p, c_int, POINTER(c_uint)),
    "nvmlDeviceGetTemperature": (c_void_p, c_int, POINTER(c_uint)),
    "nvmlDeviceGetPowerUsage": (c_void_p, POINTER(c_uint)),
    "nvmlDeviceGetCurrentClocksThrottleReasons": (c_void_p, POINTER(c_ulonglong)),
}
_CLOCK_SM, _TEMPERATURE_GPU = 1, 0
# Power cap, hardware slow-down, heat seen by software, heat seen by hardware, power brake; not: idle, clocks set by somebody.
_SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


def load_nvml() -> Any:
    """The library with its signatures, started; None where it is not there or cannot start."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        for name, arguments in _FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = list(arguments), c_int
    except (OSError, AttributeError):
        return None
    return library if library.nvmlInit_v2() == 0 else None


def open_gpu_sampler(*, pci_bus_id: str, is_integrated: bool) -> ConditionSampler:
    """Sampler of the GPU at that place, or of the Jetson that it is part of; what cannot be read is None in its samples."""
    return JetsonSampler() if is_integrated else CardSampler(load_nvml(), pci_bus_id)


class CardSampler:
    """Clock, power, temperature and throttle reasons of a card; load and pauses of the host."""

    def __init__(self, nvml: Any, pci_bus_id: str, host: ConditionSampler | None = None) -> None:
        """Take NVML, or None where there is none; `host` is the CPUs of this machine by default."""
        self._nvml = nvml
        self._host = host or CpuSampler()
        self._num_slowed = 0
        self._card = c_void_p()
        if nvml is not None and nvml.nvmlDeviceGetHandleByPciBusId_v2(pci_bus_id.encode("ascii", "replace"), byref(self._card)):
            self._nvml = None

    def sample(self) -> Condition:
        clock_mhz = self._read("nvmlDeviceGetClockInfo", _CLOCK_SM)
        temperature_c = self._read("nvmlDeviceGetTemperature", _TEMPERATURE_GPU)
        power_mw = self._read("nvmlDeviceGetPowerUsage")
        reasons = self._read("nvmlDeviceGetCurrentClocksThrottleReasons", kind=c_ulonglong)
        self._num_slowed += reasons is not None and bool(int(reasons) & _SLOWED)
        return replace(
            self._host.sample(),
            clock_mhz=clock_mhz,
            temperature_c=temperature_c,
            power_w=None if power_mw is None else power_mw / 1000,
            throttle_reasons=reasons,
            num_throttled=None if reasons is None else float(self._num_slowed),
        )

    def _read(self, function: str, *arguments: int, kind: Any = c_uint) -> float | None:
        value = kind()
        if self._nvml is None or getattr(self._nvml, function)(self._card, *arguments, byref(value)) != 0:
            return None
        return float(value.value)


class JetsonSampler:
    """Clock of the GPU, power of the board, over-current events; the hottest zone, load and pauses are those of the CPU sampler."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Find out once which files are there; `root` is where `/proc` and `/sys` are."""
        self._host = CpuSampler(root)
        self._clocks = [folder / "cur_freq" for folder in gpu_clock_folders(root)]
        self._rails = _rails(root)
        self._events = sorted(root.glob("sys/class/hwmon/hwmon*/oc*_event_cnt"))

    def sample(self) -> Condition:
        clocks = [value for value in map(read_number, self._clocks) if value is not None]
        events = [value for value in map(read_number, self._events) if value is not None]
        return replace(
            self._host.sample(),
            clock_mhz=max(clocks) / 1e6 if clocks else None,
            power_w=self._power_w(),
            num_throttled=sum(events) if events else None,
        )

    def _power_w(self) -> float | None:
        pairs = [(read_number(voltage), read_number(current)) for voltage, current in self._rails]
        watts = [mv * ma / 1e6 for mv, ma in pairs if mv is not None and ma is not None]
        return sum(watts) if watts else None


def _rails(root: Path) -> list[tuple[Path, Path]]:
    """Voltage and current of the rail that feeds the whole board, else of every rail that the INA3221 chips watch."""
    rails: dict[str, tuple[Path, Path]] = {}
    for chip in sorted(root.glob("sys/class/hwmon/hwmon*")):
        if read_text(chip / "name") == "ina3221":
            for number in (1, 2, 3):  # those that follow are shunt voltages and their sum
                label = read_text(chip / f"in{number}_label")
                if label is not None and label != "NC":  # not connected
                    rails[label] = (chip / f"in{number}_input", chip / f"curr{number}_input")
    return [rails["VDD_IN"]] if "VDD_IN" in rails else list(rails.values())
