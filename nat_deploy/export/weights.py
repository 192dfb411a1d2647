"""A subnet's weights in a file: where they come from, and what is written beside them."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open

from nat_deploy.data import DataSplits, Normalisation, calibration_batches
from nat_deploy.errors import ArchitectureError, FileFormatError, InputError, MissingError
from nat_deploy.onnx_graphs import Weights
from nat_deploy.spaces.subnet_file import SubnetFile
from nat_deploy.supernets import Subnet, calibrate_batch_norm, extract_subnet, load_subnet_weights, load_supernet, save_weights

_CALIBRATION_BATCH = 64

_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedSubnet:
    """A network with its weights, and what their file says about them.

    class_names, normalisation   None where the file does not tell
    source                       the file, for people
    """

    subnet: Subnet
    source: str
    class_names: tuple[str, ...] | None = None
    normalisation: Normalisation | None = None


def find_weights(subnet_file: SubnetFile, supernet: Path | None) -> WeightedSubnet:
    """The network of `subnet_file`, cut out of a supernet file if there is one, otherwise with the weights that it names.

    Raises:
        MissingError: There are no weights.
        ArchitectureError: The supernet is of another space or number of classes.
        FileFormatError: The weights do not fit the architecture.
    """
    if supernet is not None:
        return _cut_out(subnet_file, supernet)
    if subnet_file.weights is None:
        raise MissingError(
            "weights must be known, but the subnet file names none; add --weights SUPERNET to cut them out of a supernet"
        )
    subnet = load_subnet_weights(subnet_file.space.blocks(subnet_file.architecture), subnet_file.weights)
    with safe_open(subnet_file.weights, framework="pt") as file:
        metadata: dict[str, str] = dict(file.metadata() or {})
    class_names = _read(metadata, "class_names", tuple[str, ...], subnet_file.weights)
    if class_names is not None and len(class_names) != subnet_file.num_classes:
        raise FileFormatError(
            f"metadata class_names of '{subnet_file.weights}' must be {subnet_file.num_classes} names, but are "
            f"{len(class_names)}; give the weights that belong to the subnet"
        )
    return WeightedSubnet(
        subnet=subnet,
        source=str(subnet_file.weights),
        class_names=class_names,
        normalisation=_read(metadata, "normalisation", Normalisation, subnet_file.weights),
    )


def save_trained(path: Path, subnet: Subnet, data: DataSplits) -> None:
    """Write weights atomically, with what `find_weights` reads of the data they were trained on."""
    metadata = {
        "class_names": json.dumps(data.class_names),
        "normalisation": json.dumps(asdict(data.normalisation)),
        "trained_on": data.name,
    }
    save_weights(path, subnet.state_dict(), metadata)


def calibrated(subnet: Subnet, data: DataSplits, *, resolution: int, num_images: int, seed: int) -> Subnet:
    """A copy of `subnet` with the batch-norm statistics of training images."""
    batches = calibration_batches(data.train, count=num_images, batch_size=_CALIBRATION_BATCH, resolution=resolution, seed=seed)
    return calibrate_batch_norm(subnet, (images for images, _ in batches))


def check_classes(data: DataSplits, found: WeightedSubnet, *, purpose: str) -> None:
    """An accuracy exists only on images of the network's classes, in their order; `purpose` says what the images do.

    Raises:
        InputError: The data set has other classes.
    """
    num_classes = found.subnet.blocks[-1].out_channels
    if data.num_classes != num_classes or found.class_names not in (None, data.class_names):
        raise InputError(
            f"images that {purpose} must be of the network's {num_classes} classes, but '{data.name}' has {data.num_classes} "
            f"or other ones ({', '.join(data.class_names)[:80]}); give the data that the network was trained on"
        )


def hash_weights(weights: Weights) -> str:
    """SHA-256 of names, shapes and values, whatever file they came from."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(f"{name}{weights[name].shape}".encode())
        digest.update(weights[name].astype("<f4").tobytes())
    return digest.hexdigest()


def _cut_out(subnet_file: SubnetFile, path: Path) -> WeightedSubnet:
    supernet, info = load_supernet(path)
    arch, space = subnet_file.architecture, supernet.space
    if (space.name, space.num_classes) != (arch.space, subnet_file.num_classes):
        raise ArchitectureError(
            f"the supernet must be of '{arch.space}' with {subnet_file.num_classes} classes, but '{path}' is of '{space.name}' "
            f"with {space.num_classes}; give the supernet that the subnet was searched in"
        )
    with torch.no_grad():
        subnet = extract_subnet(supernet, arch).eval()
    return WeightedSubnet(subnet=subnet, source=f"cut out of {path}", class_names=info.class_names)


def _read(metadata: dict[str, str], key: str, kind: type[_Kind], path: Path) -> _Kind | None:
    if key not in metadata:
        return None
    try:
        return TypeAdapter(kind).validate_json(metadata[key])
    except (ValueError, ValidationError) as error:
        reason = " ".join(str(error).split())
        raise FileFormatError(
            f"metadata {key} of '{path}' must be JSON of natdeploy, but are not ({reason}); make it again"
        ) from error
