"""The latency tables that the authors of Once-for-all published: one YAML file per resolution, ms of one image.

An entry is a block under a key such as

    expanded_conv-input:80x80x24-output:40x40x32-expand:144-kernel:3-stride:2-idskip:0-se:0-hs:0

with `count` (runs), `mean` and `std` (ms). `expand` is the number of channels of the depthwise convolution, `idskip` the shortcut, `se`
squeeze-excite, `hs` h-swish; `Conv` is the stem, `Conv_1` the final expansion, `Conv_2` the feature mix, `Logits` the classifier. The
files name neither device nor space: the first is told on import, the second is the one whose blocks these are. The tables of
the Samsung Note 10 are of `ofa-mbv3-w1.2`.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from nat_deploy.errors import FileFormatError, InputError
from nat_deploy.predictors.latency import BlockEntry, BlockIndex, LatencyTable, Provenance, Timing
from nat_deploy.predictors.latency.table_file import Strict, first_fault
from nat_deploy.spaces import WIDTHS, Block, make_space
from nat_deploy.tables.plausible import check_plausible
from nat_deploy.tables.whole_text import read_whole_text
from profilers.target import Target

_STEM = re.compile(r"Conv-input:(\d{2,4})x\1x3-output:\d+x\d+x\d+")
_LOGITS = re.compile(r"Logits-input:1x1x\d+-output:(\d{1,6})")
_DEFAULT_CLASSES = 1000


class _Entry(Strict):
    count: Annotated[int, Field(ge=1, le=2**31)]
    mean: Annotated[float, Field(gt=0, lt=1e9, allow_inf_nan=False)]
    std: Annotated[float, Field(ge=0, lt=1e9, allow_inf_nan=False)]


_ENTRIES = TypeAdapter(dict[str, _Entry])


def read_once_for_all(files: Sequence[Path], target: Target) -> LatencyTable:
    """One table of several files, each of one resolution and one sitting.

    Args:
        files: YAML files of one device.
        target: Where they were measured, which the files do not say.

    Raises:
        MissingError: A file is not there.
        FileFormatError: A file is cut, or is no such table; the sentence names the first entry that is wrong.
        InputError: The files do not belong together, or hold another unit than ms.
    """
    read = [(path, _read_file(path)) for path in dict.fromkeys(files)]
    if not read:
        raise InputError("an import needs at least one file, but none came; name the YAML files")
    num_classes = _number(read, _LOGITS, "number of classes") or _DEFAULT_CLASSES
    space = _space_of(*read[0], num_classes)
    blocks: list[BlockEntry] = []
    warnings = [
        "published: means of blocks alone; what they were measured with is what the import was told, and no whole network is among them"
    ]
    for sitting, (path, entries) in enumerate(read):
        resolution = _resolution(path, entries)
        known = {once_for_all_key(block): block for block in _blocks(space, resolution, num_classes)}
        unknown = [key for key in entries if key not in known]
        if unknown:
            raise FileFormatError(
                f"'{path}' must hold blocks of {space} at {resolution} pixels, but '{unknown[0][:120]}' is none; "
                "import tables of one Once-for-all MobileNetV3 space"
            )
        if len(entries) < len(known):
            warnings.append(
                f"missing_blocks: '{path.name}' holds {len(entries)} of {len(known)} blocks at {resolution} pixels; the others are interpolated"
            )
        for key, entry in entries.items():
            check_plausible(f"'{key[:120]}' of '{path}'", entry.mean, (known[key],), batch_size=target.batch_size)
            timing = Timing.of_figure(entry.mean, std_ms=entry.std, num_runs=entry.count)
            blocks.append(BlockEntry(block=known[key], timing=timing, sitting=sitting))
    return LatencyTable(
        target=target,
        facts=None,
        space=space,
        num_classes=num_classes,
        provenance=Provenance(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            natdeploy_version=version("natdeploy"),
            seed=0,
            source="once-for-all",
        ),
        blocks=tuple(blocks),
        warnings=tuple(warnings),
    )


def once_for_all_key(block: Block) -> str:
    """The key of a block of a MobileNetV3 space in these tables; different blocks of one space have different keys."""
    if block.kind == "linear":
        output = str(block.out_channels) if block.bias else f"1x1x{block.out_channels}"
        return f"{'Logits' if block.bias else 'Conv_2'}-input:1x1x{block.in_channels}-output:{output}"
    name = {"conv": "Conv_1" if block.kernel_size == 1 else "Conv", "pool": "AvgPool2D", "mbconv": "expanded_conv"}[block.kind]
    shapes = f"input:{_shape(block.in_size, block.in_channels)}-output:{_shape(block.out_size, block.out_channels)}"
    if block.kind != "mbconv":
        return f"{name}-{shapes}"
    return (
        f"{name}-{shapes}-expand:{block.mid_channels}-kernel:{block.kernel_size}-stride:{block.stride}"
        f"-idskip:{int(block.shortcut)}-se:{int(block.se_channels > 0)}-hs:{int(block.activation == 'hswish')}"
    )


def _shape(size: int, channels: int) -> str:
    return f"{size}x{size}x{channels}"


def _blocks(space: str, resolution: int, num_classes: int) -> tuple[Block, ...]:
    return BlockIndex(make_space(space, resolutions=(resolution,), num_classes=num_classes)).blocks


def _space_of(path: Path, entries: Mapping[str, _Entry], num_classes: int) -> str:
    """The space that has most of the blocks; what the others have of them is by chance."""
    resolution = _resolution(path, entries)

    def num_known(space: str) -> int:
        return len({once_for_all_key(block) for block in _blocks(space, resolution, num_classes)} & set(entries))

    return max((f"ofa-mbv3-w{width}" for width in WIDTHS), key=num_known)


def _resolution(path: Path, entries: Mapping[str, _Entry]) -> int:
    found = _number([(path, entries)], _STEM, "resolution")
    if found is None or not 32 <= found <= 1024:
        raise FileFormatError(
            f"'{path}' must hold the first convolution under a key such as 'Conv-input:224x224x3-output:112x112x24', for images of 32 to "
            "1024 pixels, but it does not; import the files as they were published"
        )
    return found


def _number(read: Sequence[tuple[Path, Mapping[str, _Entry]]], pattern: re.Pattern[str], name: str) -> int | None:
    """The number that keys of this form carry, or None where there is none."""
    matches = [pattern.fullmatch(key) for _, entries in read for key in entries]
    numbers = {int(match.group(1)) for match in matches if match}
    if len(numbers) > 1:
        listed = ", ".join(map(str, sorted(numbers)))
        raise InputError(f"files of one table must agree on the {name}, but {listed} came; import them one by one")
    return min(numbers, default=None)


def _read_file(path: Path) -> dict[str, _Entry]:
    try:
        entries = _ENTRIES.validate_python(yaml.load(read_whole_text(path), Loader=_StrictLoader))
    except ValidationError as error:
        raise FileFormatError(f"table '{path}' of Once-for-all {first_fault(error)}; copy it again") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise FileFormatError(f"'{path}' must be YAML, but it is not ({reason}); copy it again") from error
    if not entries:
        raise FileFormatError(f"'{path}' must hold latencies of blocks, but it is empty; copy it again")
    return entries


class _StrictLoader(yaml.SafeLoader):
    """Plain values only, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        values = super().construct_mapping(node, deep=deep)
        if len(values) < len(node.value):
            raise ValueError(f"a key is there twice in line {node.start_mark.line + 1} or below")
        return values
