"""Devices by name, and `devices.toml` files that may be anything."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nat_deploy.errors import DeviceError, FileFormatError
from nat_deploy.profiling import Device, find_device, load_devices, open_device
from profilers.transports.adb import AdbTransport

JETSON = """
[devices.jetson]
host = "192.168.1.20"
user = "nvidia"
port = 2222
precision = "fp16"

[devices.note10]
transport = "table"
target = "note10.tflite-1.fp32.t1.b1"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "devices.toml"


def test_built_in_devices_are_always_there(file: Path) -> None:
    assert list(load_devices([file])) == ["cpu", "gpu"]
    assert find_device("cpu", [file]) == Device(name="cpu")


def test_devices_are_read(file: Path) -> None:
    file.write_text(JETSON)
    jetson = find_device("jetson", [file])
    assert (jetson.transport, jetson.host, jetson.precision) == ("ssh", "192.168.1.20", "fp16")
    assert jetson.transport_spec() == {"transport": "ssh", "host": "192.168.1.20", "user": "nvidia", "port": "2222"}
    assert find_device("note10", [file]).transport == "table"


def test_a_phone_is_read_and_opened(file: Path) -> None:
    file.write_text('[devices.phone]\ntransport = "adb"\nruntime = "litert"\nserial = "R3C"\ntool = "/data/x"\naffinity = [7]')
    phone = find_device("phone", [file])
    assert phone.transport_spec() == {"transport": "adb", "serial": "R3C", "tool": "/data/x"}
    assert isinstance(open_device(phone), AdbTransport)


def test_an_earlier_file_wins(tmp_path: Path) -> None:
    near, far = tmp_path / "near.toml", tmp_path / "far.toml"
    near.write_text('[devices.a]\nhost = "near"')
    far.write_text('[devices.a]\nhost = "far"\n[devices.b]\nhost = "far"')
    devices = load_devices([near, far])
    assert (devices["a"].host, devices["b"].host) == ("near", "far")


def test_an_unknown_device_says_what_to_write(file: Path) -> None:
    with pytest.raises(DeviceError, match=r'it is \'jetson\'; to add it, write \[devices.jetson\] host = "ADDRESS"'):
        find_device("jetson", [file])


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (Device(name="old", transport="table", target="x"), "answers predictions only"),
    ],
)
def test_a_device_that_cannot_measure_says_why(device: Device, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        open_device(device)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[devices.jetson]\ntransport = 'ssh'", "needs 'host'"),
        ("[devices.x]\ntransport = 'table'", "needs 'target'"),
        ("[devices.x]\nport = '22'", "port"),
        ("[devices.x]\ncolour = 'red'", "colour"),
        ("[devices.cpu]\nthreads = 2", r"\[devices.cpu\]"),
        ("[device.x]", "device"),
        ("[devices.'a b']", "a b"),
        ("[devices", "must be TOML"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(FileFormatError, match=message):
        load_devices([file])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_broken_file_is_read_or_refused(file: Path, data: st.DataObject) -> None:
    content = bytearray(JETSON.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    file.write_bytes(bytes(content))
    with contextlib.suppress(FileFormatError):
        load_devices([file])
