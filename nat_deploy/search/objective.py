"""What a search makes small. Every objective is minimised; accuracy enters as top-1 error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nat_deploy.errors import InputError

ObjectiveSource = Literal["evaluated", "latency", "counted"]

ERROR = "error_percent"
LATENCY = "latency_ms"
COUNTED = {"macs": "MACs", "num_params": "parameters", "peak_activation_bytes": "bytes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A quantity to minimise.

    name      "error_percent" or "error_percent@DATA", "latency_ms" or "latency_ms@DEVICE", "macs", "num_params", "peak_activation_bytes"
    unit      of its values
    source    how it is obtained: "evaluated" with supernet weights (predicted by a surrogate while searching), "latency"
              (predicted from a latency table while searching, measured for finalists), or "counted" exactly
    """

    name: str
    unit: str
    source: ObjectiveSource


def latency_objective(device: str, devices: Sequence[str]) -> str:
    """Name of the latency on a device of a search: plain for an only device, with the device's name for several."""
    return LATENCY if len(devices) == 1 else f"{LATENCY}@{device}"


def error_objective(data: str, data_sets: Sequence[str]) -> str:
    """Name of the error on a data set of a search: plain for an only one, with the data set's name for several."""
    return ERROR if len(data_sets) == 1 else f"{ERROR}@{data}"


def is_error(name: str) -> bool:
    """Whether an objective of that name is an error."""
    return name.partition("@")[0] == ERROR


def make_objective(name: str) -> Objective:
    """The objective of that name.

    Raises:
        InputError: There is none.
    """
    if name == ERROR or (is_error(name) and _is_folder_name(name.partition("@")[2])):
        return Objective(name=name, unit="%", source="evaluated")
    if name == LATENCY or (name.startswith(f"{LATENCY}@") and name != f"{LATENCY}@"):
        return Objective(name=name, unit="ms", source="latency")
    if name in COUNTED:
        return Objective(name=name, unit=COUNTED[name], source="counted")
    allowed = ", ".join([ERROR, f"{ERROR}@DATA", LATENCY, f"{LATENCY}@DEVICE", *COUNTED])
    raise InputError(f"objective must be one of {allowed}, but it is '{name}'; choose one of these")


def _is_folder_name(name: str) -> bool:
    """A run folder keeps what belongs to a data set under its name, and may come from anybody."""
    return name not in ("", ".", "..") and not any(letter in name for letter in "/\\\0")
