"""What is sampled of an NVIDIA card through NVML, and of a Jetson through the names that its files really have."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from profilers import gpu_conditions
from profilers.conditions import Condition, condition_warnings, samples_from_json, samples_to_json
from profilers.gpu_conditions import CardSampler, JetsonSampler, load_nvml, open_gpu_sampler

ORIN_NANO = {
    "sys/class/devfreq/17000000.gpu/cur_freq": "624750000",
    "sys/class/devfreq/13e00000.host1x/cur_freq": "999000000",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "48468",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal",
    "sys/class/thermal/thermal_zone1/temp": "49250",
    "sys/class/hwmon/hwmon1/name": "ina3221",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon1/in1_input": "5000",
    "sys/class/hwmon/hwmon1/curr1_input": "1400",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "sys/class/hwmon/hwmon1/in2_input": "5000",
    "sys/class/hwmon/hwmon1/curr2_input": "300",
    "sys/class/hwmon/hwmon1/in7_label": "sum of shunt voltages",
    "sys/class/hwmon/hwmon1/in7_input": "7",
    "sys/class/hwmon/hwmon2/name": "soctherm_oc",
    "sys/class/hwmon/hwmon2/oc1_event_cnt": "2",
    "sys/class/hwmon/hwmon2/oc3_event_cnt": "5",
}
AGX_XAVIER = {
    "sys/class/devfreq/17000000.gv11b/cur_freq": "1377000000",
    "sys/class/thermal/thermal_zone0/type": "GPU-therm",
    "sys/class/thermal/thermal_zone0/temp": "51500",
    "sys/class/thermal/thermal_zone5/type": "PMIC-Die",
    "sys/class/thermal/thermal_zone5/temp": "100000",
    "sys/class/hwmon/hwmon3/name": "ina3221",
    "sys/class/hwmon/hwmon3/in1_label": "GPU",
    "sys/class/hwmon/hwmon3/in1_input": "19000",
    "sys/class/hwmon/hwmon3/curr1_input": "500",
    "sys/class/hwmon/hwmon3/in2_label": "CPU",
    "sys/class/hwmon/hwmon3/in2_input": "19000",
    "sys/class/hwmon/hwmon3/curr2_input": "100",
    "sys/class/hwmon/hwmon4/name": "ina3221",
    "sys/class/hwmon/hwmon4/in1_label": "CV",
    "sys/class/hwmon/hwmon4/in1_input": "nothing",
    "sys/class/hwmon/hwmon4/curr1_input": "100",
    "sys/class/hwmon/hwmon4/in2_label": "NC",
    "sys/class/hwmon/hwmon4/in2_input": "19000",
    "sys/class/hwmon/hwmon4/curr2_input": "9000",
}


def write_files(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


def test_an_orin_is_read(tmp_path: Path) -> None:
    sample = JetsonSampler(write_files(tmp_path, ORIN_NANO)).sample()
    assert (sample.clock_mhz, sample.temperature_c, sample.power_w, sample.num_throttled) == (624.75, 49.25, 7.0, 7.0)


def test_a_xavier_is_read_by_its_rails_and_without_its_power_chip(tmp_path: Path) -> None:
    sample = JetsonSampler(write_files(tmp_path, AGX_XAVIER)).sample()
    assert (sample.clock_mhz, sample.temperature_c, sample.num_throttled) == (1377.0, 51.5, None)
    assert sample.power_w == pytest.approx(9.5 + 1.9)


def test_files_that_vanish_or_were_never_there_are_unknown(tmp_path: Path) -> None:
    assert JetsonSampler(tmp_path).sample() == Condition()
    sampler = JetsonSampler(write_files(tmp_path, ORIN_NANO))
    for name in ORIN_NANO:
        (tmp_path / name).unlink()
    assert sampler.sample() == Condition()


class FakeNvml:
    """A card whose readings are set by hand; None is what a card answers "not supported" to."""

    def __init__(self, **readings: int | None) -> None:
        self.readings: dict[str, int | None] = {"clock": 1980, "temperature": 61, "power": 431_250, "reasons": 0, **readings}

    def nvmlDeviceGetHandleByPciBusId_v2(self, bus: bytes, card: Any) -> int:
        card._obj.value = 7
        return 0 if bus == b"0000:01:00.0" else 6

    def nvmlDeviceGetClockInfo(self, card: ctypes.c_void_p, kind: int, value: Any) -> int:
        return self._answer("clock", card, value) if kind == 1 else 2

    def nvmlDeviceGetTemperature(self, card: ctypes.c_void_p, kind: int, value: Any) -> int:
        return self._answer("temperature", card, value) if kind == 0 else 2

    def nvmlDeviceGetPowerUsage(self, card: ctypes.c_void_p, value: Any) -> int:
        return self._answer("power", card, value)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, card: ctypes.c_void_p, value: Any) -> int:
        return self._answer("reasons", card, value)

    def _answer(self, name: str, card: ctypes.c_void_p, value: Any) -> int:
        reading = self.readings[name]
        if card.value != 7 or reading is None:
            return 3
        value._obj.value = reading
        return 0


class Host:
    """CPUs whose clock and heat must not be taken for those of a card."""

    def sample(self) -> Condition:
        return Condition(clock_mhz=3000.0, temperature_c=40.0, num_throttled=9.0, others_ms=5.0)


def test_a_card_is_read_and_the_load_is_that_of_the_host() -> None:
    sample = CardSampler(FakeNvml(), "0000:01:00.0", Host()).sample()
    assert sample == Condition(
        clock_mhz=1980.0, temperature_c=61.0, power_w=431.25, throttle_reasons=0.0, num_throttled=0.0, others_ms=5.0
    )


def test_being_slowed_for_heat_or_power_is_counted_and_idling_is_not() -> None:
    nvml = FakeNvml()
    sampler = CardSampler(nvml, "0000:01:00.0", Host())
    samples = []
    for reasons in (0x1, 0x2, 0x4, 0x40 | 0x1, 0x10, 0x100):
        nvml.readings["reasons"] = reasons
        samples.append(sampler.sample())
    assert [sample.num_throttled for sample in samples] == [0, 0, 1, 2, 2, 2]
    assert "throttled" in [warning.kind for warning in condition_warnings(samples, num_cores=4)]
    assert samples_from_json(samples_to_json(samples)) == tuple(samples)


def test_what_a_card_does_not_tell_is_unknown_and_never_the_hosts() -> None:
    unknown = Condition(others_ms=5.0)
    silent = FakeNvml(clock=None, temperature=None, power=None, reasons=None)
    assert CardSampler(silent, "0000:01:00.0", Host()).sample() == unknown
    assert CardSampler(FakeNvml(), "0000:02:00.0", Host()).sample() == unknown
    assert CardSampler(None, "0000:01:00.0", Host()).sample() == unknown


def test_a_machine_without_nvml_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_conditions, "_LIBRARY", "lib-that-is-not-there.so")
    assert load_nvml() is None
    assert isinstance(open_gpu_sampler(pci_bus_id="0000:01:00.0", is_integrated=False), CardSampler)
    assert isinstance(open_gpu_sampler(pci_bus_id="", is_integrated=True), JetsonSampler)
