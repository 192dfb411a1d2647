"""`FILE.json` beside an exported `FILE`: what it is, where it came from, and how well it agrees with the network."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from nat_deploy.data import Normalisation
from nat_deploy.errors import FileFormatError, MissingError
from nat_deploy.export.formats import Layout
from nat_deploy.export.parity import ParityReport
from nat_deploy.export.quantisation import QuantisationReport
from nat_deploy.files import read_json_document, write_atomically
from nat_deploy.onnx_graphs import Precision
from nat_deploy.spaces import Architecture
from nat_deploy.spaces.subnet_file import ObjectiveValue
from profilers.runtimes.tensorrt.engine_record import EngineRecord

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file that belongs beside the model, such as its weights."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """Everything about an exported model that its reader may ask.

    model            file name; its folder is that of the sidecar
    model_sha256     of the file, so that a changed model is noticed
    num_bytes        of the file and its parts
    weights          where they came from, for people
    weights_sha256   of names, shapes and values, whatever file they are in
    calibrated_on    data set of the batch-norm statistics, None where they were taken as they were
    created          time in UTC, ISO 8601
    engine           how an engine was built, None for other models; the device reads it before it loads the engine
    preprocessing    whether the model takes uint8 pixels and normalises them itself
    quantisation     how it became int8 and what that cost, None in other precisions
    parity           beside the network in fp32; where training made it int8, beside the network that rounds as it was trained
    simulated_parity the int8 graph, node by node, beside a network that rounds in torch as the graph says; None in other precisions
    parts            files that belong beside the model
    layout           order in which the model takes normalised images
    batch_size       of one run, None where it is open
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    format: int = FORMAT
    natdeploy: str
    created: str
    model: str
    model_format: str
    model_sha256: str
    num_bytes: int
    opset: int
    architecture: Architecture
    num_classes: int
    class_names: tuple[str, ...] | None
    normalisation: Normalisation
    weights: str
    weights_sha256: str
    calibrated_on: str | None
    fold_batch_norm: bool
    objectives: tuple[ObjectiveValue, ...]
    parity: ParityReport
    engine: EngineRecord | None = None
    precision: Precision = "fp32"
    preprocessing: bool = False
    quantisation: QuantisationReport | None = None
    simulated_parity: ParityReport | None = None
    parts: tuple[Part, ...] = ()
    layout: Layout = "NCHW"
    batch_size: int | None = None


def sidecar_path(model: Path) -> Path:
    return model.with_name(f"{model.name}.json")


def save_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Write it atomically.

    Raises:
        InputError, WorkError: The file cannot be written.
    """
    document = TypeAdapter(Sidecar).dump_python(sidecar, mode="json")
    write_atomically(path, json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def load_sidecar(model: Path) -> Sidecar:
    """The sidecar of a model file, if both belong together.

    Raises:
        MissingError: One of both files is not there.
        FileFormatError: The sidecar is broken or of another format, or the model has changed since.
    """
    path = sidecar_path(model)
    document = read_json_document(path)
    number = document.get("format") if isinstance(document, dict) else None
    if type(number) is not int or number != FORMAT:
        raise FileFormatError(f"file '{path}' must have format {FORMAT}, but it is {number!r:.60}; export the subnet again")
    try:
        sidecar = TypeAdapter(Sidecar).validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])[:100]
        raise FileFormatError(f"file '{path}': {key} is wrong ({first['msg']}); export the subnet again") from error
    for part in (Part(name=model.name, sha256=sidecar.model_sha256), *sidecar.parts):
        _check_part(model.with_name(part.name), part, path)
    return sidecar


def _check_part(file: Path, part: Part, sidecar: Path) -> None:
    if not file.is_file():
        raise MissingError(f"model '{file}' must exist beside its sidecar, but it does not; export the subnet again")
    if hashlib.sha256(file.read_bytes()).hexdigest() != part.sha256:
        raise FileFormatError(
            f"model '{file}' must be the one that '{sidecar}' describes, but it has changed; export the subnet again"
        )
