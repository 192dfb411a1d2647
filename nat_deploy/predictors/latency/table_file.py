"""Latency tables as JSON files: strict when read, whole when written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema

from nat_deploy.errors import ArchitectureError, FileFormatError
from nat_deploy.files import read_json_document, write_atomically
from nat_deploy.predictors.latency.table import (
    BlockEntry,
    LatencyTable,
    NetworkEntry,
    OverheadEntry,
    Provenance,
    Source,
    Timing,
)
from nat_deploy.spaces import SPACE_NAMES, Architecture, Block, make_space
from nat_deploy.spaces.block import Activation, BlockKind
from profilers.device_facts import DeviceFacts
from profilers.errors import JobError
from profilers.target import Target

FORMAT = 1

_MAX_RESOLUTION = 4096

Count = Annotated[int, Field(ge=0, le=2**31)]
NumClasses = Annotated[int, Field(ge=2, le=10**6)]
_Ms = Annotated[float, Field(gt=0, allow_inf_nan=False, description="ms of one batch")]
_Sitting = Annotated[int, Field(ge=0, le=2**31, description="graphs of one sitting took turns; counted from 0")]
_Pixels = Annotated[int, Field(ge=0, le=2**31, description="height and width in pixels")]


def _closed_schema(kind: type) -> dict[str, object]:
    """The JSON schema of a dataclass of `profilers`, which checks its own keys: all must be there, and no others."""
    schema = TypeAdapter(kind).json_schema()
    properties = {
        name: {key: value for key, value in of.items() if key != "default"} for name, of in schema["properties"].items()
    }
    return {**schema, "properties": properties, "required": list(properties), "additionalProperties": False}


class Strict(BaseModel):
    """What unknown keys and mistyped values do not pass."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Timing(Strict):
    p25_ms: _Ms
    p25_low_ms: _Ms
    p25_high_ms: _Ms
    median_ms: _Ms
    low_ms: _Ms
    high_ms: _Ms
    num_runs: Count
    converged: bool
    sitting: _Sitting
    single: Annotated[bool, Field(description="one figure that others wrote down stands for both statistics")] = False

    def value(self) -> Timing:
        return Timing(**self.model_dump(exclude={"sitting"}))


class BlockModel(Strict):
    """A block in a file: all its shapes, so that equal blocks are the same computation."""

    kind: BlockKind
    in_channels: Count
    out_channels: Count
    in_size: _Pixels
    kernel_size: _Pixels
    stride: Count
    mid_channels: Count
    se_channels: Count
    expanded: bool
    shortcut: bool
    bias: bool
    activation: Activation

    @classmethod
    def of(cls, block: Block) -> "BlockModel":
        return cls.model_validate(block, from_attributes=True)

    def value(self) -> Block:
        """Raises: ValueError when the numbers contradict one another."""
        return Block(**self.model_dump())


class _BlockEntry(Strict):
    block: BlockModel
    timing: _Timing


class ArchitectureModel(Strict):
    """An architecture in a file that names the space elsewhere."""

    resolution: _Pixels
    depth: list[int]
    kernel: list[int]
    expand: list[int | float]
    width: list[float] = []

    @classmethod
    def of(cls, architecture: Architecture) -> "ArchitectureModel":
        arch = architecture
        return cls(
            resolution=arch.resolution,
            depth=list(arch.depth),
            kernel=list(arch.kernel),
            expand=list(arch.expand),
            width=list(arch.width),
        )

    def value(self, space: str, num_classes: int) -> Architecture:
        """Raises: ValueError or ArchitectureError when it does not lie in the space."""
        if self.resolution > _MAX_RESOLUTION:
            raise ValueError(f"resolution must be at most {_MAX_RESOLUTION} pixels, but it is {self.resolution}")
        architecture = Architecture(
            space=space,
            resolution=self.resolution,
            depth=tuple(self.depth),
            kernel=tuple(self.kernel),
            expand=tuple(self.expand),
            width=tuple(self.width),
        )
        make_space(space, resolutions=(self.resolution,), num_classes=num_classes).check(architecture)
        return architecture


class _NetworkEntry(Strict):
    architecture: ArchitectureModel
    timing: _Timing


class _Provenance(Strict):
    created: Annotated[str, Field(description="ISO 8601, UTC")]
    natdeploy_version: str
    seed: Count
    source: Annotated[Source, Field(description="who measured")] = "measured"


class TableModel(Strict):
    format: Literal[1]
    unit: Literal["ms"]
    space: str
    num_classes: NumClasses
    target: Annotated[dict[str, object], WithJsonSchema(_closed_schema(Target))]
    facts: Annotated[dict[str, object] | None, WithJsonSchema({"anyOf": [_closed_schema(DeviceFacts), {"type": "null"}]})]
    provenance: _Provenance
    warnings: list[str]
    overheads: list[_Timing]
    networks: list[_NetworkEntry]
    blocks: list[_BlockEntry]


def load_table(path: Path) -> LatencyTable:
    """Read a latency table.

    Raises:
        MissingError: There is no such file.
        FileFormatError: It is not a whole, sound table of this format; the sentence names the place and what came.
    """
    document = read_json_document(path)
    if isinstance(document, dict) and document.get("format", FORMAT) != FORMAT:
        raise FileFormatError(
            f"latency table '{path}' must have format {FORMAT}, but it has {str(document['format'])[:40]}; "
            "use the version of natdeploy that wrote it"
        )
    try:
        return _table(TableModel.model_validate(document))
    except ValidationError as error:
        raise FileFormatError(f"latency table '{path}' {first_fault(error)}; measure again or restore the file") from error
    except (ValueError, JobError, ArchitectureError) as error:
        raise FileFormatError(
            f"latency table '{path}' must be sound, but it is not ({error}); measure again or restore the file"
        ) from error


def save_table(table: LatencyTable, path: Path) -> None:
    """Write a latency table, whole or not at all, one entry a line.

    Raises:
        InputError: The place cannot be written.
        WorkError: The disk is full or fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, table_json(table))


def table_json(table: LatencyTable) -> str:
    """The text of a table's file."""
    head = TableModel(
        format=1,
        unit="ms",
        space=table.space,
        num_classes=table.num_classes,
        target=table.target.to_json(),
        facts=None if table.facts is None else table.facts.to_json(),
        provenance=_Provenance.model_validate(table.provenance, from_attributes=True),
        warnings=list(table.warnings),
        overheads=[],
        networks=[],
        blocks=[],
    ).model_dump_json(indent=1, exclude={"overheads", "networks", "blocks"}, exclude_defaults=True)
    lists: dict[str, Sequence[Strict]] = {
        "overheads": [_timing(entry.timing, entry.sitting) for entry in table.overheads],
        "networks": [
            _NetworkEntry(architecture=ArchitectureModel.of(entry.architecture), timing=_timing(entry.timing, entry.sitting))
            for entry in table.networks
        ],
        "blocks": [
            _BlockEntry(block=BlockModel.of(entry.block), timing=_timing(entry.timing, entry.sitting)) for entry in table.blocks
        ],
    }
    # What is not there takes its default, so that older versions read what they know.
    texts = [
        f' "{name}": [\n' + ",\n".join("  " + entry.model_dump_json(exclude_defaults=True) for entry in entries) + "\n ]"
        for name, entries in lists.items()
    ]
    return ",\n".join([head.removesuffix("\n}"), *texts]) + "\n}\n"


def _timing(timing: Timing, sitting: int) -> _Timing:
    names = [name for name in _Timing.model_fields if name != "sitting"]
    return _Timing(sitting=sitting, **{name: getattr(timing, name) for name in names})


def _table(file: TableModel) -> LatencyTable:
    if file.space not in SPACE_NAMES:
        raise ValueError(f"space must be one of {', '.join(SPACE_NAMES)}, but it is '{file.space[:40]}'")
    return LatencyTable(
        target=Target.from_json(file.target),
        facts=None if file.facts is None else DeviceFacts.from_json(file.facts),
        space=file.space,
        num_classes=file.num_classes,
        provenance=Provenance(**file.provenance.model_dump()),
        blocks=tuple(
            BlockEntry(block=entry.block.value(), timing=entry.timing.value(), sitting=entry.timing.sitting)
            for entry in file.blocks
        ),
        networks=tuple(
            NetworkEntry(
                architecture=entry.architecture.value(file.space, file.num_classes),
                timing=entry.timing.value(),
                sitting=entry.timing.sitting,
            )
            for entry in file.networks
        ),
        overheads=tuple(OverheadEntry(timing=entry.value(), sitting=entry.sitting) for entry in file.overheads),
        warnings=tuple(file.warnings),
    )


def first_fault(error: ValidationError) -> str:
    """The middle of a sentence: the place of the first fault of a file, and what is wrong there."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"]) or "the document"
    return f"must follow the format, but at '{place[:80]}': {fault['msg'][:120].lower()}"
