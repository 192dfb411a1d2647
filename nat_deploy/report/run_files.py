"""What a run left behind besides its records: descriptions, weights, exported models."""

from dataclasses import dataclass
from pathlib import Path

from nat_deploy.errors import NatDeployError
from nat_deploy.spaces.subnet_file import ObjectiveValue, load_subnet

_MODEL_SUFFIXES = {".safetensors", ".onnx", ".engine", ".plan", ".trt", ".pte", ".tflite"}
_SUBNET = "subnet.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A file that a user takes away; `remark` says how it was checked, or what is wrong with it."""

    name: str
    num_bytes: int
    remark: str = ""


def read_files(run: Path) -> tuple[RunFile, ...]:
    """Networks of the run, by name: `subnet.json`, weights, and exported models with what their sidecars say."""
    paths = sorted(path for path in run.iterdir() if path.is_file() and (path.name == _SUBNET or path.suffix in _MODEL_SUFFIXES))
    return tuple(RunFile(name=path.name, num_bytes=path.stat().st_size, remark=_remark(path)) for path in paths)


def read_subnet_objectives(run: Path) -> tuple[ObjectiveValue, ...]:
    """What `subnet.json` says of the chosen network; nothing where it is not there or broken (`read_files` says so)."""
    try:
        return load_subnet(run / _SUBNET).objectives
    except NatDeployError:
        return ()


def _remark(path: Path) -> str:
    try:
        if path.name == _SUBNET:
            return f"architecture of {load_subnet(path).architecture.space}"
        return _parity(path) if path.with_name(f"{path.name}.json").exists() else ""
    except NatDeployError as error:
        return str(error)


def _parity(model: Path) -> str:
    from nat_deploy.export.sidecar import load_sidecar  # brings torch, which a report without exported models does not need

    parity = load_sidecar(model).parity
    return (
        f"outputs compared with the network on {parity.num_images} {parity.images} images in {parity.runtime}: "
        f"relative error {parity.relative_error:.1e} at most, {100 * parity.top1_agreement:.0f} % same class"
    )
