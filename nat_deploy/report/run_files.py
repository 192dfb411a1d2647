"""What a run left behind besides its records: descriptions, weights, exported models."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nat_deploy.errors import NatDeployError
from nat_deploy.files import read_json_document
from nat_deploy.spaces.subnet_file import SubnetFile, load_subnet

_MODEL_SUFFIXES = {".safetensors", ".onnx", ".engine", ".plan", ".trt", ".pte", ".tflite"}
_SUBNET = "subnet.json"
_CHOSEN = "chosen"  # of a search on several data sets, a folder for each


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A file that a user takes away; `remark` says how it was checked, or what is wrong with it."""

    name: str
    num_bytes: int
    remark: str = ""


def read_files(run: Path) -> tuple[RunFile, ...]:
    """Networks of the run, by name: `subnet.json`, weights, and exported models with what their sidecars say; of several data sets those of each."""
    folders = [run, *sorted(path for path in (run / _CHOSEN).glob("*") if path.is_dir())]
    paths = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file() and _is_shown(path)]
    return tuple(
        RunFile(name=path.relative_to(run).as_posix(), num_bytes=path.stat().st_size, remark=_remark(path)) for path in paths
    )


def _is_shown(path: Path) -> bool:
    return path.name == _SUBNET or path.suffix in _MODEL_SUFFIXES


@dataclass(frozen=True, slots=True, kw_only=True)
class TestAccuracy:
    """Accuracy of the chosen network on images of a data set that no choice looked at."""

    __test__ = False  # no test of pytest's

    data: str
    top1_percent: float
    num_images: int


def read_subnet(run: Path) -> SubnetFile | None:
    """The chosen network's `subnet.json` of an only data set; None where it is not there or broken (`read_files` says so)."""
    try:
        return load_subnet(run / _SUBNET)
    except NatDeployError:
        return None


def read_test_accuracies(run: Path) -> tuple[TestAccuracy, ...]:
    """What `summary.json` says of test images, if there is one and it does: one per data set that has such a part."""
    data_sets = _read_object(run / "summary.json").get("data_sets")
    found = [_test_accuracy(data) for data in data_sets if isinstance(data, dict)] if isinstance(data_sets, list) else []
    return tuple(accuracy for accuracy in found if accuracy is not None)


def _test_accuracy(data: Mapping[str, object]) -> TestAccuracy | None:
    percent, images = data.get("test_top1_percent"), data.get("test_images")
    if isinstance(percent, int | float) and isinstance(images, int):
        return TestAccuracy(data=str(data.get("name", "")), top1_percent=float(percent), num_images=images)
    return None


def read_request(run: Path) -> Mapping[str, object]:
    """What a person asked for, from `request.json`; empty where there is none."""
    request = _read_object(run / "request.json").get("request")
    return {str(name): value for name, value in request.items() if value is not None} if isinstance(request, dict) else {}


def request_texts(request: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """A request as names and texts."""
    return tuple((name, _text(value)) for name, value in request.items())


def search_command(request: Mapping[str, object]) -> str | None:
    """The command of a request, quoted for a POSIX shell; None for an empty one."""
    if not request:
        return None
    return shlex.join(["natdeploy", "search", *(word for name, value in request.items() for word in _option(name, value))])


def _option(name: str, value: object) -> list[str]:
    """The words of one option; those that can be repeated have a plural name and a list of texts."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [option] if value else []
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [word for item in value for word in (option.removesuffix("s"), item)]
    return [option, _text(value).replace(" ", "") if isinstance(value, list) else str(value)]


def _read_object(path: Path) -> Mapping[str, object]:
    """A JSON object; empty where the file is not there or holds something else: a report says less then, and that is all."""
    try:
        document = read_json_document(path)
    except NatDeployError:
        return {}
    return document if isinstance(document, dict) else {}


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


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
