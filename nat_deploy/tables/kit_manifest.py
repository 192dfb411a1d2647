"""The manifest of a kit: which file is which network or block, so that results that come back mean something."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from nat_deploy.errors import ArchitectureError, FileFormatError
from nat_deploy.files import read_json_document
from nat_deploy.predictors.latency.table_file import ArchitectureModel, BlockModel, Count, NumClasses, Strict, first_fault
from nat_deploy.spaces import SPACE_NAMES, Architecture, Block, make_space
from profilers.target import PRECISIONS

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class KitGraph:
    """One ONNX file of a kit.

    subject     the network or the block that it is; None of a graph that does nothing, which shows what a call costs
    """

    id: str
    file: str  # path inside the kit, with /
    sha256: str
    subject: Architecture | Block | None

    def __post_init__(self) -> None:
        if self.file.startswith("/") or ".." in self.file.split("/"):
            raise ValueError(f"files of a kit must lie inside it, but '{self.file[:80]}' does not")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What a kit holds, and how it is meant to be run."""

    space: str
    num_classes: int
    runtime: str
    precision: str  # of `profilers.target.PRECISIONS`
    threads: int
    batch_size: int
    seed: int
    created: str  # ISO 8601, UTC
    natdeploy_version: str
    graphs: tuple[KitGraph, ...]

    def __post_init__(self) -> None:
        ids = [graph.id for graph in self.graphs]
        if len(set(ids)) < len(ids):
            raise ValueError("graphs of a kit must have different ids, but two have the same")

    def blocks(self, graph: KitGraph) -> tuple[Block, ...]:
        """The blocks that a graph computes."""
        match graph.subject:
            case None:
                return ()
            case Block() as block:
                return (block,)
            case architecture:
                return make_space(self.space, resolutions=(architecture.resolution,), num_classes=self.num_classes).blocks(
                    architecture
                )


class _Graph(Strict):
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    file: Annotated[str, Field(min_length=1, max_length=200)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    architecture: ArchitectureModel | None = None
    block: BlockModel | None = None


class _Manifest(Strict):
    format: Literal[1]
    unit: Literal["ms"]
    space: str
    num_classes: NumClasses
    runtime: Annotated[str, Field(min_length=1, max_length=64)]
    precision: Annotated[str, Field(pattern=f"^({'|'.join(PRECISIONS)})$")]
    threads: Annotated[int, Field(ge=1, le=1024)]
    batch_size: Annotated[int, Field(ge=1, le=65536)]
    seed: Count
    created: str
    natdeploy_version: str
    graphs: Annotated[list[_Graph], Field(min_length=1)]


def manifest_json(kit: Kit) -> str:
    """The text of a kit's `manifest.json`, one graph a line."""
    head = _Manifest(
        format=1,
        unit="ms",
        space=kit.space,
        num_classes=kit.num_classes,
        runtime=kit.runtime,
        precision=kit.precision,
        threads=kit.threads,
        batch_size=kit.batch_size,
        seed=kit.seed,
        created=kit.created,
        natdeploy_version=kit.natdeploy_version,
        graphs=[_graph_model(graph) for graph in kit.graphs],
    )
    graphs = ",\n".join("  " + graph.model_dump_json(exclude_none=True) for graph in head.graphs)
    return head.model_dump_json(indent=1, exclude={"graphs"}).removesuffix("\n}") + f',\n "graphs": [\n{graphs}\n ]\n}}\n'


def load_manifest(folder: Path) -> Kit:
    """Read the manifest of the kit in a folder.

    Raises:
        MissingError: There is none.
        FileFormatError: It is broken, or of another format.
    """
    path = folder / MANIFEST
    document = read_json_document(path)
    if isinstance(document, dict) and document.get("format", FORMAT) != FORMAT:
        raise FileFormatError(
            f"manifest '{path}' must have format {FORMAT}, but it has {str(document['format'])[:40]}; "
            "use the version of natdeploy that wrote it"
        )
    try:
        return _kit(_Manifest.model_validate(document))
    except ValidationError as error:
        raise FileFormatError(f"manifest '{path}' {first_fault(error)}; restore the file") from error
    except (ValueError, ArchitectureError) as error:
        raise FileFormatError(f"manifest '{path}' must be sound, but it is not ({error}); restore the file") from error


def _kit(manifest: _Manifest) -> Kit:
    if manifest.space not in SPACE_NAMES:
        raise ValueError(f"space must be one of {', '.join(SPACE_NAMES)}, but it is '{manifest.space[:40]}'")
    graphs = tuple(
        KitGraph(id=graph.id, file=graph.file, sha256=graph.sha256, subject=_subject(manifest, graph))
        for graph in manifest.graphs
    )
    values = manifest.model_dump(exclude={"format", "unit", "graphs"})
    return Kit(**values, graphs=graphs)


def _subject(manifest: _Manifest, graph: _Graph) -> Architecture | Block | None:
    if graph.architecture and graph.block:
        raise ValueError(f"graph '{graph.id}' must be a network or a block, but it says both")
    if graph.architecture:
        return graph.architecture.value(manifest.space, manifest.num_classes)
    return graph.block.value() if graph.block else None


def _graph_model(graph: KitGraph) -> _Graph:
    subject = graph.subject
    return _Graph(
        id=graph.id,
        file=graph.file,
        sha256=graph.sha256,
        architecture=ArchitectureModel.of(subject) if isinstance(subject, Architecture) else None,
        block=BlockModel.of(subject) if isinstance(subject, Block) else None,
    )
