"""`subnet.json`: one architecture with what is known of it; and the files that NAT and Once-for-all publish.

    {"format": 1, "space": "ofa-mbv3-w1.0", "resolution": 224, "num_classes": 1000,
     "depth": [2, 3, ...], "kernel": [3, 3, ...], "expand": [3, 3, ...],
     "weights": "subnet.safetensors",
     "objectives": {"latency_ms": {"value": 18.4, "low": 18.1, "high": 18.7, "source": "measured", "target": "..."}},
     "provenance": {"weights": "fine-tuned for 12 epochs ..."}}

The resolution says whether the space is one of photographs (128 to 256) or of small images (32 to 96). Published files are
`{"ks", "e", "d", "r", "w"}`, with the active layers or with all 20 slots.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nat_deploy.errors import ArchitectureError, FileFormatError
from nat_deploy.files import read_json_document, write_atomically
from nat_deploy.spaces import PHOTOGRAPH_RESOLUTIONS, SMALL_IMAGE_RESOLUTIONS, make_space
from nat_deploy.spaces.architecture import Architecture
from nat_deploy.spaces.choices import listed
from nat_deploy.spaces.mbconv_space import EXPANDS, KERNELS
from nat_deploy.spaces.ofa_mbv3 import DEPTHS, WIDTHS
from nat_deploy.spaces.space import SearchSpace

FORMAT = 1
PUBLISHED_NUM_CLASSES = 1000
MOST_CLASSES = 1_000_000
_PUBLISHED_STAGES, _PUBLISHED_STAGE_LENGTH = 5, 4
_PUBLISHED_SLOTS = _PUBLISHED_STAGES * _PUBLISHED_STAGE_LENGTH

ValueSource = Literal["measured", "predicted", "counted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveValue:
    """What one objective came to; the unit is in the name.

    low, high   ends of the interval of `value`, None where there is none
    target      key of the target it was measured on or predicted for, None where it depends on no device
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    source: ValueSource
    target: str | None = None

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise FileFormatError(f"objectives.{self.name}.{name} must be a finite number, but it is {number}; correct it")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetFile:
    """The content of a `subnet.json`: a valid architecture, where its weights are, and what its objectives came to.

    `provenance` tells people how the weights, or an objective of that name, came about.

    Raises:
        ArchitectureError: The architecture is not in its space.
    """

    architecture: Architecture
    num_classes: int
    weights: Path | None = None
    objectives: tuple[ObjectiveValue, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.space.check(self.architecture)

    @property
    def space(self) -> SearchSpace:
        """The space of the architecture, with resolutions of the range that its own is in."""
        resolutions = _resolutions_around(self.architecture.resolution)
        return make_space(self.architecture.space, resolutions=resolutions, num_classes=self.num_classes)


def load_subnet(path: Path) -> SubnetFile:
    """Read a `subnet.json` or a file published by NAT or Once-for-all (which then has 1,000 classes and no weights).

    Weights in the result are a path that can be opened: a relative one is taken from the file's folder and may not leave it.

    Raises:
        MissingError: There is no such file.
        FileFormatError: It is not such a file; the message names the key, the value and what is allowed.
        ArchitectureError: The architecture is not in its space.
    """
    document = read_json_document(path)
    if not isinstance(document, dict) or not document.keys() & {"format", "space", "ks"}:
        raise FileFormatError(
            f"file '{path}' must describe a subnet, with keys format, space, ... or ks, e, d, r; give such a file"
        )
    try:
        return _from_published(document) if "ks" in document else _from_document(document, Path(path).parent)
    except ArchitectureError as error:
        raise ArchitectureError(_in_file(path, error)) from error
    except FileFormatError as error:
        raise FileFormatError(_in_file(path, error)) from error


def save_subnet(path: Path, subnet: SubnetFile) -> None:
    """Write a `subnet.json`, whole or not at all; weights beside or below the file are named relative to it.

    Raises:
        InputError, WorkError: The file cannot be written.
    """
    arch = subnet.architecture
    document: dict[str, object] = {
        "format": FORMAT,
        "space": arch.space,
        "resolution": arch.resolution,
        "num_classes": subnet.num_classes,
        "depth": arch.depth,
        "kernel": arch.kernel,
        "expand": arch.expand,
    }
    if arch.width:
        document["width"] = arch.width
    if subnet.weights is not None:
        document["weights"] = _weights_text(subnet.weights, Path(path).parent)
    document["objectives"] = {
        objective.name: {
            key: getattr(objective, key)
            for key in ("value", "low", "high", "source", "target")
            if getattr(objective, key) is not None
        }
        for objective in subnet.objectives
    }
    if subnet.provenance:
        document["provenance"] = dict(subnet.provenance)
    lines = (f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in document.items())
    write_atomically(path, "{" + ",\n ".join(lines) + "}\n")


# ---- the border: what is in a file, before it is believed ---------------------------------------------------------------------

# wide: the space says what is allowed, this keeps out what no int64 holds
_Integer = Annotated[int, Field(ge=-MOST_CLASSES, le=MOST_CLASSES)]
_Text = Annotated[str, Field(min_length=1, max_length=1000)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _ObjectiveDocument(_Document):
    value: _Number
    low: _Number | None = None
    high: _Number | None = None
    source: ValueSource
    target: _Text | None = None


class _SubnetDocument(_Document):
    format: int
    space: Annotated[str, Field(min_length=1, max_length=100)]
    resolution: _Integer
    num_classes: Annotated[int, Field(ge=2, le=MOST_CLASSES)]
    depth: list[_Integer]
    kernel: list[_Integer]
    expand: list[_Integer | _Number]
    width: list[_Number] = Field(default_factory=list)
    weights: _Text | None = None
    objectives: dict[str, _ObjectiveDocument] = Field(default_factory=dict)
    provenance: dict[str, _Text] = Field(default_factory=dict)


class _PublishedDocument(_Document):
    ks: list[_Integer]
    e: list[_Integer]
    d: list[_Integer]
    r: _Integer
    w: _Number = 1.0


_AnyDocument = TypeVar("_AnyDocument", bound=_Document)


def _in_file(path: Path, error: Exception) -> str:
    return f"file '{path}': {' '.join(str(error).split())}"  # one line, whatever names the file holds


def _from_document(document: dict[str, object], folder: Path) -> SubnetFile:
    number = document.get("format")
    if type(number) is not int or number != FORMAT:
        raise FileFormatError(f"format must be {FORMAT}, but it is {_shown(number)}; use the version of natdeploy that wrote it")
    content = _validated(_SubnetDocument, document)
    return SubnetFile(
        architecture=Architecture(
            space=content.space,
            resolution=content.resolution,
            depth=tuple(content.depth),
            kernel=tuple(content.kernel),
            expand=tuple(content.expand),
            width=tuple(content.width),
        ),
        num_classes=content.num_classes,
        weights=None if content.weights is None else _weights_path(content.weights, folder),
        objectives=tuple(
            ObjectiveValue(name=name, value=found.value, low=found.low, high=found.high, source=found.source, target=found.target)
            for name, found in content.objectives.items()
        ),
        provenance=content.provenance,
    )


def _from_published(document: dict[str, object]) -> SubnetFile:
    content = _validated(_PublishedDocument, document)
    if content.w not in WIDTHS:
        raise ArchitectureError(f"w must be one of {listed(WIDTHS)}, but it is {content.w}; change it to one of these")
    if len(content.d) != _PUBLISHED_STAGES:
        raise ArchitectureError(
            f"d must have {_PUBLISHED_STAGES} values (one per stage), but it has {len(content.d)}; correct it"
        )
    _check_all("d", content.d, DEPTHS)
    return SubnetFile(
        architecture=Architecture(
            space=f"ofa-mbv3-w{content.w}",
            resolution=content.r,
            depth=tuple(content.d),
            kernel=_active("ks", content.ks, content.d, KERNELS),
            expand=_active("e", content.e, content.d, EXPANDS),
        ),
        num_classes=PUBLISHED_NUM_CLASSES,
    )


def _active(key: str, values: Sequence[int], depth: Sequence[int], choices: Sequence[int]) -> tuple[int, ...]:
    """Values of the active layers, from a list of these or of all slots; what unused slots hold means nothing."""
    if len(values) not in (sum(depth), _PUBLISHED_SLOTS):
        raise ArchitectureError(
            f"{key} must have {sum(depth)} values (active layers, the sum of d) or {_PUBLISHED_SLOTS} (all slots), "
            f"but it has {len(values)}; add or remove values"
        )
    if len(values) == _PUBLISHED_SLOTS:
        values = [
            values[_PUBLISHED_STAGE_LENGTH * stage + layer] for stage in range(_PUBLISHED_STAGES) for layer in range(depth[stage])
        ]
    _check_all(key, values, choices)
    return tuple(values)


def _validated(model: type[_AnyDocument], document: dict[str, object]) -> _AnyDocument:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"])[:100]
        match first["type"]:
            case "missing":
                sentence = f"key {key} must be there, but it is not; add it"
            case "extra_forbidden":
                known = _known_keys(model, first["loc"])
                sentence = f"key must be one of {known}, but it is {key!r} with value {_shown(first['input'])}; remove it"
            case _:
                reason = first["msg"].replace("Input should be", "be").replace("String should", "").strip()
                sentence = f"{key} must {reason}, but it is {_shown(first['input'])}; correct it"
        raise FileFormatError(sentence) from error


def _known_keys(model: type[_Document], place: tuple[int | str, ...]) -> str:
    return ", ".join((model if len(place) == 1 else _ObjectiveDocument).model_fields)


def _weights_path(text: str, folder: Path) -> Path:
    """An absolute path is taken as it is; a relative one stays inside the folder, whoever wrote the file."""
    relative = PurePosixPath(text)
    if "\0" in text or not relative.name or (".." in relative.parts and not relative.is_absolute()):
        raise FileFormatError(f"weights must be a file in this folder or an absolute path, but is {_shown(text)}; correct it")
    return folder / relative


def _weights_text(weights: Path, folder: Path) -> str:
    absolute, folder = weights.absolute(), folder.absolute()
    inside = absolute.is_relative_to(folder) and ".." not in absolute.relative_to(folder).parts
    return (absolute.relative_to(folder) if inside else absolute).as_posix()


def _resolutions_around(resolution: int) -> tuple[int, ...]:
    ranges = (SMALL_IMAGE_RESOLUTIONS, PHOTOGRAPH_RESOLUTIONS)
    for resolutions in ranges:
        if resolution in resolutions:
            return resolutions
    allowed = " or ".join(listed(resolutions) for resolutions in ranges)
    raise ArchitectureError(f"resolution must be one of {allowed}, but it is {resolution}; change it to one of these")


def _check_all(key: str, values: Sequence[int], choices: Sequence[int]) -> None:
    for place, value in enumerate(values):
        if value not in choices:
            raise ArchitectureError(f"{key}[{place}] must be one of {listed(choices)}, but it is {value}; choose one of these")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
