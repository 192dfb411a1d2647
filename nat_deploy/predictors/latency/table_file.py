"""Latency tables as JSON files: strict when read, whole when written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nat_deploy.errors import ArchitectureError, FileFormatError
from nat_deploy.files import read_json_document, write_atomically
from nat_deploy.predictors.latency.table import BlockEntry, LatencyTable, NetworkEntry, OverheadEntry, Provenance, Timing
from nat_deploy.spaces import SPACE_NAMES, Architecture, Block, make_space
from nat_deploy.spaces.block import Activation, BlockKind
from profilers.device_facts import DeviceFacts
from profilers.errors import JobError
from profilers.target import Target

FORMAT = 1

_Count = Annotated[int, Field(ge=0, le=2**31)]
_Ms = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Timing(_Strict):
    p25_ms: _Ms
    p25_low_ms: _Ms
    p25_high_ms: _Ms
    median_ms: _Ms
    low_ms: _Ms
    high_ms: _Ms
    num_runs: _Count
    converged: bool
    sitting: _Count

    def value(self) -> Timing:
        return Timing(**self.model_dump(exclude={"sitting"}))


class _Block(_Strict):
    kind: BlockKind
    in_channels: _Count
    out_channels: _Count
    in_size: _Count
    kernel_size: _Count
    stride: _Count
    mid_channels: _Count
    se_channels: _Count
    expanded: bool
    shortcut: bool
    bias: bool
    activation: Activation


class _BlockEntry(_Strict):
    block: _Block
    timing: _Timing


class _Architecture(_Strict):
    resolution: _Count
    depth: list[int]
    kernel: list[int]
    expand: list[int]


class _NetworkEntry(_Strict):
    architecture: _Architecture
    timing: _Timing


class _Provenance(_Strict):
    created: str
    natdeploy_version: str
    seed: _Count


class _Table(_Strict):
    format: Literal[1]
    unit: Literal["ms"]
    space: str
    num_classes: Annotated[int, Field(ge=2, le=10**6)]
    target: dict[str, object]
    facts: dict[str, object]
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
        return _table(_Table.model_validate(document))
    except ValidationError as error:
        raise FileFormatError(f"latency table '{path}' {_first_fault(error)}; measure again or restore the file") from error
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
    head = _Table(
        format=1,
        unit="ms",
        space=table.space,
        num_classes=table.num_classes,
        target=table.target.to_json(),
        facts=table.facts.to_json(),
        provenance=_Provenance.model_validate(table.provenance, from_attributes=True),
        warnings=list(table.warnings),
        overheads=[],
        networks=[],
        blocks=[],
    ).model_dump_json(indent=1, exclude={"overheads", "networks", "blocks"})
    lists: dict[str, Sequence[_Strict]] = {
        "overheads": [_timing(entry.timing, entry.sitting) for entry in table.overheads],
        "networks": [
            _NetworkEntry(
                architecture=_Architecture(
                    resolution=entry.architecture.resolution,
                    depth=list(entry.architecture.depth),
                    kernel=list(entry.architecture.kernel),
                    expand=list(entry.architecture.expand),
                ),
                timing=_timing(entry.timing, entry.sitting),
            )
            for entry in table.networks
        ],
        "blocks": [
            _BlockEntry(
                block=_Block.model_validate(entry.block, from_attributes=True), timing=_timing(entry.timing, entry.sitting)
            )
            for entry in table.blocks
        ],
    }
    texts = [
        f' "{name}": [\n' + ",\n".join("  " + entry.model_dump_json() for entry in entries) + "\n ]"
        for name, entries in lists.items()
    ]
    return ",\n".join([head.removesuffix("\n}"), *texts]) + "\n}\n"


def _timing(timing: Timing, sitting: int) -> _Timing:
    names = [name for name in _Timing.model_fields if name != "sitting"]
    return _Timing(sitting=sitting, **{name: getattr(timing, name) for name in names})


def _table(file: _Table) -> LatencyTable:
    if file.space not in SPACE_NAMES:
        raise ValueError(f"space must be one of {', '.join(SPACE_NAMES)}, but it is '{file.space[:40]}'")
    return LatencyTable(
        target=Target.from_json(file.target),
        facts=DeviceFacts.from_json(file.facts),
        space=file.space,
        num_classes=file.num_classes,
        provenance=Provenance(**file.provenance.model_dump()),
        blocks=tuple(
            BlockEntry(block=Block(**entry.block.model_dump()), timing=entry.timing.value(), sitting=entry.timing.sitting)
            for entry in file.blocks
        ),
        networks=tuple(_network(file, entry) for entry in file.networks),
        overheads=tuple(OverheadEntry(timing=entry.value(), sitting=entry.sitting) for entry in file.overheads),
        warnings=tuple(file.warnings),
    )


def _network(file: _Table, entry: _NetworkEntry) -> NetworkEntry:
    arch = entry.architecture
    architecture = Architecture(
        space=file.space,
        resolution=arch.resolution,
        depth=tuple(arch.depth),
        kernel=tuple(arch.kernel),
        expand=tuple(arch.expand),
    )
    if arch.resolution > 4096:
        raise ValueError(f"resolution must be at most 4096 pixels, but it is {arch.resolution}")
    make_space(file.space, resolutions=(arch.resolution,), num_classes=file.num_classes).check(architecture)
    return NetworkEntry(architecture=architecture, timing=entry.timing.value(), sitting=entry.timing.sitting)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"]) or "the document"
    return f"must follow the format, but at '{place[:80]}': {fault['msg'][:120].lower()}"
