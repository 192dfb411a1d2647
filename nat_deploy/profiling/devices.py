"""Devices by name: `cpu` and `gpu` are this machine, others are described in `devices.toml`.

[devices.jetson]
host = "192.168.1.20"        # or a name in ~/.ssh/config; with a host, the transport is ssh unless said otherwise
user = "nvidia"              # what is left out here is looked for in ~/.ssh/config: user, port, keys, jumps
runtime = "tensorrt"         # comes with JetPack
precision = "fp16"
power_mode = "15W"           # name or number of nvpmodel; without it, whatever mode the board is in
# port = 22
# identity_file = "~/.ssh/id_jetson"
# password_file = "~/.ssh/jetson_password"   # readable by you alone; a key is better: ssh-copy-id nvidia@192.168.1.20
# python = "python3.10"      # on the board, 3.8 or newer with numpy

[devices.pi]                 # any Linux machine with an SSH server, Python, numpy and ONNX Runtime
host = "raspberrypi.local"
user = "pi"
threads = 4

[devices.jetson-recorded]    # answers from what was measured before, with the same models: for trying things without the board
runtime = "replay:recorded/ofa-mbv3-w0.5.sittings"   # a results file or a folder of them; counts from the folder of this file
precision = "fp16"

[devices.cpu-litert]
runtime = "litert"           # or openvino, executorch, onnxruntime-cuda: this machine through other software

[devices.phone]              # an Android phone with USB debugging on, and a benchmark program on it
transport = "adb"            # needs natdeploy[adb], and the adb server of this machine: adb start-server
runtime = "litert"           # benchmark_model; or onnxruntime (onnxruntime_perf_test), executorch (executor_runner)
affinity = [7]               # a fast core; 'natdeploy devices check phone' lists the clusters
# serial = "R3CN30ABCDE"     # as 'adb devices' lists it; needed when there are several
# tool = "/data/local/tmp/benchmark_model"   # where the program lies on the phone

[devices.old-phone]
transport = "table"          # predictions only, from a table that lies in a folder of tables
target = "pixel-8.litert-2.1.fp32.t1.b1"
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nat_deploy.errors import DeviceError, FileFormatError, InputError
from profilers.errors import TransportError
from profilers.transports import open_transport
from profilers.transports.base import Transport

TransportName = Literal["local", "ssh", "adb", "table"]
Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_APP = "natdeploy"
_FILE = "devices.toml"
_REPLAY = "replay:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """How to reach a device, and how networks run on it."""

    name: str
    transport: TransportName = "local"
    runtime: str = "onnxruntime"
    precision: Precision = "fp32"
    threads: int = 1
    batch_size: int = 1
    affinity: tuple[int, ...] | None = None  # CPU ids; None leaves the process free
    power_mode: str = "default"
    host: str | None = None
    user: str | None = None
    port: int | None = None
    identity_file: str | None = None
    password_file: str | None = None
    python: str | None = None  # interpreter on the device
    serial: str | None = None  # of a phone
    tool: str | None = None  # path of the benchmark program on a phone
    target: str | None = None  # key of the target, only of a "table" device
    allow_power_mode: bool = False  # it may be put into its power mode, and back; asked for on the command line, never in a file

    def with_settings(
        self, *, threads: int | None = None, batch_size: int | None = None, precision: str | None = None
    ) -> "Device":
        """The same device with other settings, where they are given: another target.

        Raises:
            InputError: A value is not allowed.
        """
        if precision is not None and precision not in PRECISIONS:
            raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, but it is '{precision}'; choose one of these")
        for name, value in (("threads", threads), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, but it is {value}; give a positive number")
        return replace(
            self,
            threads=threads or self.threads,
            batch_size=batch_size or self.batch_size,
            precision=precision or self.precision,
        )

    def transport_spec(self) -> Mapping[str, str]:
        """What `profilers.open_transport` takes."""
        known = {
            "transport": self.transport,
            "host": self.host,
            "user": self.user,
            "port": None if self.port is None else str(self.port),
            "identity_file": self.identity_file,
            "password_file": self.password_file,
            "python": self.python,
            "serial": self.serial,
            "tool": self.tool,
            "allow_power_mode": "yes" if self.allow_power_mode else None,
        }
        return {key: value for key, value in known.items() if value is not None}


BUILT_IN = (Device(name="cpu"), Device(name="gpu", runtime="tensorrt", precision="fp16"))

_Text = Annotated[str, Field(min_length=1, max_length=200)]


class _DeviceEntry(BaseModel):
    """The values of a `[devices.NAME]` section."""

    model_config = ConfigDict(extra="forbid", strict=True)

    transport: TransportName | None = None
    runtime: _Text = "onnxruntime"
    precision: Precision = "fp32"
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 1
    affinity: list[Annotated[int, Field(ge=0)]] | None = None
    power_mode: _Text = "default"
    host: _Text | None = None
    user: _Text | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    identity_file: _Text | None = None
    password_file: _Text | None = None
    python: _Text | None = None
    serial: _Text | None = None
    tool: _Text | None = None
    target: _Text | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "_DeviceEntry":
        needed = {"ssh": "host", "table": "target"}.get(self._transport)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"a device with transport '{self._transport}' needs '{needed}'")
        if self.runtime.startswith(_REPLAY) and self._transport != "local":
            raise ValueError(
                "a device with runtime 'replay' answers from a file of this machine: leave out 'host' and 'transport'"
            )
        return self

    @property
    def _transport(self) -> TransportName:
        return self.transport or ("ssh" if self.host else "local")

    def device(self, name: str, folder: Path) -> Device:
        """The device of that name, described by a file in the folder."""
        values = {key: value for key, value in self if key not in ("transport", "affinity", "runtime")}
        affinity = None if self.affinity is None else tuple(self.affinity)
        runtime = self.runtime
        if runtime.startswith(_REPLAY):
            recording = Path(runtime.removeprefix(_REPLAY)).expanduser()
            runtime = f"{_REPLAY}{(folder / recording).resolve()}"
        return Device(name=name, transport=self._transport, affinity=affinity, runtime=runtime, **values)


class _DevicesFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    devices: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")], _DeviceEntry] = {}


def device_files() -> tuple[Path, ...]:
    """Where `devices.toml` is looked for; a device in an earlier file wins."""
    return Path(_FILE), platformdirs.user_config_path(_APP) / _FILE


def load_devices(files: Sequence[Path] | None = None) -> dict[str, Device]:
    """All known devices by name: the built-in ones and those of `devices.toml`.

    Args:
        files: Instead of `device_files()`; those that are not there are passed over.

    Raises:
        FileFormatError: A file is not TOML of the form above; the sentence names the place and what came.
    """
    found: dict[str, Device] = {}
    for path in reversed(device_files() if files is None else files):
        found |= _read(path)
    taken = {device.name for device in BUILT_IN} & set(found)
    if taken:
        raise FileFormatError(
            f"devices must not be named as built-in ones, but [devices.{min(taken)}] is there; choose another name in {_FILE}"
        )
    return {device.name: device for device in (*BUILT_IN, *found.values())}


def find_device(name: str, files: Sequence[Path] | None = None, *, allow_power_mode: bool = False) -> Device:
    """The device of that name.

    Args:
        files: As `load_devices`.
        allow_power_mode: Its power mode may be set for the time of a measurement.

    Raises:
        DeviceError: It is unknown; the sentence says what to write where.
        FileFormatError: As `load_devices`.
    """
    devices = load_devices(files)
    if name not in devices:
        raise DeviceError(
            f"device must be one of {', '.join(devices)}, but it is '{name[:64]}'; "
            f'to add it, write [devices.{name[:64]}] host = "ADDRESS" (section and key on lines of their own) '
            f"into {_FILE} here or {device_files()[1]}"
        )
    return replace(devices[name], allow_power_mode=allow_power_mode)


def open_device(device: Device) -> Transport:
    """The way to a device that can measure.

    Raises:
        DeviceError: It cannot measure here; the sentence says why and what to do.
    """
    if device.transport == "table":
        raise DeviceError(
            f"device '{device.name}' has transport 'table' and answers predictions only; measure on a device that can be reached"
        )
    try:
        return open_transport(device.transport_spec())
    except TransportError as error:
        raise DeviceError(f"device '{device.name}': {error}") from error


def _read(path: Path) -> dict[str, Device]:
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8"))
        entries = _DevicesFile.model_validate(document).devices
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InputError(
            f"'{path}' must be readable, but it is not ({error.strerror}); check the path and its permissions"
        ) from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])[:80]
        raise FileFormatError(
            f"'{path}' must describe devices, but at '{place}': {fault['msg'][:120].lower()}; correct it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"'{path}' must be TOML, but it is not ({str(error)[:120]}); correct it") from error
    return {name: entry.device(name, path.parent) for name, entry in entries.items()}
