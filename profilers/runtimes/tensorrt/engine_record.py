"""What an engine is and where it runs: the key "engine" of `FILE.json` beside an engine `FILE`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from profilers.errors import JobError, ModelFileError, RuntimeFailedError
from profilers.strict_json import OPTIONAL, check_format, checked_object, loads

FORMAT = 1
_FIELDS = {
    "format": (int,),
    "runtime": (str,),
    "runtime_version": (str,),
    "cuda": (str, OPTIONAL),
    "gpu": (str, OPTIONAL),
    "compute_capabilities": (list,),
    "precision": (str,),
    "typing": (str,),
    "flags": (list,),
    "tactic_sources": (list,),
    "level": (int, OPTIONAL),
    "avg_timing_iterations": (int,),
    "batch_size": (int,),
    "num_layers": (int, OPTIONAL),
    "build_s": (float,),
    "model_sha256": (str,),
    "engine_sha256": (str,),
    "num_bytes": (int,),
}
_LISTS = ("compute_capabilities", "flags", "tactic_sources")


@dataclass(frozen=True)
class EngineRecord:
    """How an engine was built.

    An engine of TensorRT runs only on the version and the GPU it was built for; one of TensorRT-RTX on the version and on the
    compute capabilities it was built for.
    """

    runtime: str  # "tensorrt" or "tensorrt-rtx"
    runtime_version: str
    cuda: str | None  # newest CUDA of the driver; None where an engine was built without a GPU
    gpu: str | None
    compute_capabilities: tuple[str, ...]  # "8.6"; empty for TensorRT-RTX's own choice (Ampere and newer)
    precision: str  # what was asked for
    typing: str  # "strong": computed in the types of the graph; "weak": the builder may also compute in wider ones
    flags: tuple[str, ...]  # builder flags that were set
    tactic_sources: tuple[str, ...]  # empty where trtexec chose
    level: int | None  # builder optimisation level; None where TensorRT has none
    avg_timing_iterations: int
    batch_size: int
    num_layers: int | None  # of the parsed network, before fusion; trtexec does not tell
    build_s: float
    model_sha256: str  # of the ONNX file
    engine_sha256: str
    num_bytes: int
    format: int = FORMAT

    def __post_init__(self) -> None:
        for name in _LISTS:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.typing not in ("strong", "weak"):
            raise JobError(f"engine.typing must be 'strong' or 'weak', but {self.typing!r} came; build the engine again.")

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), **{name: list(getattr(self, name)) for name in _LISTS}}

    @staticmethod
    def from_json(document: object) -> EngineRecord:
        """Raises: JobError when a key is unknown, missing or mistyped."""
        values = checked_object(document, _FIELDS, "engine")
        check_format(values["format"], FORMAT, "engine")
        return EngineRecord(**values)


@dataclass(frozen=True)
class EngineHost:
    """What engines meet here."""

    runtime: str
    runtime_version: str
    gpu: str
    compute_capability: str


def record_path(engine: Path) -> Path:
    return engine.with_name(f"{engine.name}.json")


def write_record(engine: Path, record: EngineRecord) -> None:
    """Write it beside the engine, whole or not at all.

    Raises:
        ModelFileError: The place cannot be written.
    """
    write_whole(record_path(engine), (json.dumps({"engine": record.to_json()}, indent=1) + "\n").encode("utf-8"))


def read_record(engine: Path) -> EngineRecord | None:
    """Read what lies beside an engine, or None where nothing does; other keys of the file are for other readers.

    Raises:
        JobError: The file is there but broken.
    """
    path = record_path(engine)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"the sidecar {str(path)!r} must be readable text, but it is not ({error}); build again.") from error
    document = loads(text, f"sidecar {str(path)!r}")
    if not isinstance(document, dict) or document.get("engine") is None:
        raise JobError(f"the sidecar {str(path)!r} must have the key 'engine', but it does not; build the engine again.")
    return EngineRecord.from_json(document["engine"])


def check_runs_here(name: str, record: EngineRecord, here: EngineHost) -> None:
    """Say why an engine cannot run here, before TensorRT answers with nothing.

    Raises:
        RuntimeFailedError: Another runtime, version or GPU is needed.
    """
    remedy = "build it on this device from its ONNX file"
    if record.runtime != here.runtime:
        built, found = record.runtime, here.runtime
    elif not _same_version(record.runtime_version, here.runtime_version):
        built, found = f"{record.runtime} {record.runtime_version}", here.runtime_version
    elif record.runtime == "tensorrt" and (record.gpu, record.compute_capabilities) != (here.gpu, (here.compute_capability,)):
        built = f"{record.gpu or 'another GPU'} (compute capability {', '.join(record.compute_capabilities) or 'unknown'})"
        found = f"{here.gpu} ({here.compute_capability})"
    elif record.compute_capabilities and here.compute_capability not in record.compute_capabilities:
        built, found = f"compute capability {', '.join(record.compute_capabilities)}", here.compute_capability
    else:
        return
    raise RuntimeFailedError(f"engine {name!r} runs only on what it was built for, {built}, but here is {found}; {remedy}.")


def _same_version(first: str, second: str) -> bool:
    """Compare as far as both go: trtexec tells three numbers, the bindings four."""
    return all(a == b for a, b in zip(first.split("."), second.split(".")))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there.

    Raises:
        ModelFileError: The place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(str(temporary), str(path))
    except OSError as error:
        raise ModelFileError(
            f"{str(path)!r} must be a place that can be written, but it is not ({error}); choose another."
        ) from error
    finally:
        if temporary.exists():
            temporary.unlink()
