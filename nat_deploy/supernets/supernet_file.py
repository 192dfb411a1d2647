"""A supernet as one safetensors file: half-precision weights, and in its metadata what they belong to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nat_deploy.errors import ArchitectureError, FileFormatError, MissingError
from nat_deploy.spaces import make_space
from nat_deploy.supernets.make_supernet import make_supernet
from nat_deploy.supernets.subnet import compare_shapes, load_weights, save_weights
from nat_deploy.supernets.supernet import Supernet

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetInfo:
    """What a supernet file says about its weights."""

    space: str
    resolutions: tuple[int, ...]
    class_names: tuple[str, ...]
    trained_on: str


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format: int
    space: str
    resolutions: tuple[int, ...]
    class_names: tuple[str, ...]
    trained_on: str


def save_supernet(path: Path, supernet: Supernet, *, class_names: tuple[str, ...], trained_on: str, half: bool = False) -> None:
    """Write weights and metadata atomically; `half` stores float16, for files that are shipped."""
    weights = {name: tensor.half() if half else tensor for name, tensor in supernet.state_dict().items()}
    metadata = {
        "format": str(FORMAT),
        "space": supernet.space.name,
        "resolutions": json.dumps(supernet.space.resolutions),
        "class_names": json.dumps(class_names),
        "trained_on": trained_on,
    }
    save_weights(path, weights, metadata)


def read_supernet_info(path: Path) -> SupernetInfo:
    """What a supernet file holds, without loading its weights.

    Raises:
        MissingError: There is no such file.
        FileFormatError: It is not a supernet file of this format.
    """
    if not path.is_file():
        raise MissingError(f"supernet file '{path}' must exist, but it does not; give the path of a supernet .safetensors file")
    advice = "make one with: natdeploy import-weights FILE --space SPACE --out FILE"
    try:
        with safe_open(path, framework="pt") as file:
            raw: dict[str, Any] = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(f"'{path}' must be a whole safetensors file, but reading it failed ({error}); {advice}") from error
    try:
        for name in ("resolutions", "class_names"):
            raw[name] = json.loads(raw[name])
        metadata = _Metadata.model_validate(raw)
    except (KeyError, ValueError, ValidationError) as error:
        raise FileFormatError(
            f"'{path}' must be a supernet file of natdeploy, but its metadata are not ({error}); {advice}"
        ) from error
    if metadata.format != FORMAT:
        raise FileFormatError(
            f"'{path}' must have format {FORMAT}, but it has {metadata.format}; use the natdeploy that wrote it"
        )
    return SupernetInfo(
        space=metadata.space,
        resolutions=metadata.resolutions,
        class_names=metadata.class_names,
        trained_on=metadata.trained_on,
    )


def load_supernet(path: Path) -> tuple[Supernet, SupernetInfo]:
    """The supernet of a file, in float32.

    Raises:
        MissingError: There is no such file.
        FileFormatError: It is no supernet file, or its weights do not fit its space; every such name is in the message.
    """
    info = read_supernet_info(path)
    try:
        space = make_space(info.space, resolutions=info.resolutions, num_classes=len(info.class_names))
    except ArchitectureError as error:
        raise FileFormatError(f"'{path}' must name a known space, but {error}") from error
    supernet = make_supernet(space)
    load_into(supernet, load_weights(path), path)
    return supernet, info


def load_into(supernet: Supernet, weights: dict[str, Tensor], path: Path) -> None:
    """Copy `weights` of the file `path` into `supernet`; all names and shapes must fit, and all values must be finite."""
    problems = compare_shapes({name: tuple(tensor.shape) for name, tensor in supernet.state_dict().items()}, weights)
    broken = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        problems = f"{problems}; not finite: {', '.join(broken)}".lstrip("; ")
    if problems:
        raise FileFormatError(f"'{path}' must fit '{supernet.space.name}', but {problems}; choose the file of this space")
    supernet.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
