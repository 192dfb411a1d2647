"""The whole export: find weights, calibrate, write the model, compare its outputs, write the sidecar."""

import copy
import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nat_deploy.data import DataSplits, Normalisation, calibration_batches, load_data
from nat_deploy.errors import InputError
from nat_deploy.export.formats import ENGINE_FORMATS, check_format
from nat_deploy.export.parity import DEFAULT_TOLERANCE, Logits, ParityReport, compare, run_model
from nat_deploy.export.sidecar import Sidecar, save_sidecar, sidecar_path
from nat_deploy.export.to_onnx import subnet_to_onnx
from nat_deploy.export.weights import calibrated, find_weights, hash_weights
from nat_deploy.files import open_atomically
from nat_deploy.onnx_graphs import OPSET
from nat_deploy.spaces.subnet_file import SubnetFile
from nat_deploy.supernets import Subnet

RUNTIME = "onnxruntime"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export left behind."""

    model: Path
    sidecar_file: Path
    sidecar: Sidecar

    @property
    def parity(self) -> ParityReport:
        return self.sidecar.parity


def export_subnet(
    subnet_file: SubnetFile,
    out: Path,
    *,
    format: str = "onnx",
    weights: Path | None = None,
    calibrate: str | Path | None = None,
    normalisation: Normalisation | None = None,
    num_images: int = 16,
    num_calibration_images: int = 1024,
    tolerance: float = DEFAULT_TOLERANCE,
    fold_batch_norm: bool = True,
    cache_dir: Path | None = None,
    seed: int = 0,
) -> ExportReport:
    """Export a subnet to `out`, with `out.json` beside it; both appear only when the model's outputs agree with the network's.

    Args:
        subnet_file: The content of a `subnet.json`.
        out: The file to write.
        format: One of `FORMATS`; this version writes "onnx".
        weights: Supernet file to cut the weights out of; by default the weights that `subnet_file` names.
        calibrate: Data set, by name or folder: batch-norm statistics are computed on its training images, and outputs are
            compared on its validation images. By default statistics stay as they are and random images are compared.
        normalisation: What the network was trained with; by default what the weights say, else the data set's, else ImageNet's.
        num_images: Images whose outputs are compared, at least 2.
        num_calibration_images: Training images for the batch-norm statistics.
        tolerance: Largest relative error of an image's logits.
        fold_batch_norm: Compute each batch norm inside the convolution before it.
        cache_dir: Where decoded images are kept; by default the user's cache folder.
        seed: Of the random or chosen images.

    Raises:
        MissingError: Weights or a package are missing.
        InputError: Arguments, weights or data that cannot be used.
        ParityError: The model computes something else, or the network is untrained; nothing is kept.
        WorkError: The disk is full; nothing is kept.
    """
    check_format(format)
    if format in ENGINE_FORMATS:
        raise ValueError(f"format {format!r} is made of an ONNX export by export_engine")
    _check_place(out)
    if num_images < 2:
        raise InputError(f"at least 2 images must be compared, but {num_images} came; ask for more")
    if num_calibration_images < 1:
        raise InputError(f"at least 1 image must calibrate the batch norms, but {num_calibration_images} came; ask for more")
    arch = subnet_file.architecture
    found = find_weights(subnet_file, weights)
    subnet, known = found.subnet, normalisation or found.normalisation
    data = None
    if calibrate is not None:
        data = load_data(calibrate, image_size=arch.resolution, seed=seed, cache_dir=cache_dir, normalisation=known)
        subnet = calibrated(subnet, data, resolution=arch.resolution, num_images=num_calibration_images, seed=seed)
        known = data.normalisation
    known = known or Normalisation()
    arrays = subnet.numpy_weights()
    model = subnet_to_onnx(
        subnet_file.space, arch, arrays, normalisation=known, class_names=found.class_names, fold_batch_norm=fold_batch_norm
    ).SerializeToString()
    images = _draw_images(data, arch.resolution, num_images, seed)
    expected = reference_logits(subnet, images)
    with open_atomically(out) as file:
        file.write(model)
        file.flush()
        os.fsync(file.fileno())  # a full disk shows here, before there is a sidecar
        parity = compare(
            run_model(Path(file.name), images, runtime=RUNTIME),
            expected,
            tolerance=tolerance,
            images="random" if data is None else data.name,
            runtime=f"{RUNTIME} {version(RUNTIME)}",
        )
        sidecar = Sidecar(
            natdeploy=version("natdeploy"),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            model=out.name,
            model_format=format,
            model_sha256=hashlib.sha256(model).hexdigest(),
            num_bytes=len(model),
            opset=OPSET,
            architecture=arch,
            num_classes=subnet_file.num_classes,
            class_names=found.class_names,
            normalisation=known,
            weights=found.source,
            weights_sha256=hash_weights(arrays),
            calibrated_on=None if data is None else data.name,
            fold_batch_norm=fold_batch_norm,
            objectives=subnet_file.objectives,
            parity=parity,
        )
        save_sidecar(sidecar_path(out), sidecar)  # before the model appears: a model without its sidecar would be half an export
    return ExportReport(model=out, sidecar_file=sidecar_path(out), sidecar=sidecar)


@torch.no_grad()
def reference_logits(subnet: Subnet, images: NDArray[np.float32]) -> Logits:
    """Logits (n, classes) of images (n, 3, r, r), in double precision so that only the exported model rounds."""
    logits: Logits = copy.deepcopy(subnet).eval().double()(torch.from_numpy(images).double()).numpy()
    return logits


def _draw_images(data: DataSplits | None, resolution: int, count: int, seed: int) -> NDArray[np.float32]:
    """Images (n, 3, r, r), normalised: of the validation part, or normally distributed numbers where there is no data."""
    if data is None:
        return np.random.default_rng(seed).standard_normal((count, 3, resolution, resolution), dtype=np.float32)
    source = data.val if len(data.val) >= 2 else data.train  # one image alone cannot show that the network tells images apart
    batches = calibration_batches(source, count=count, batch_size=count, resolution=resolution, seed=seed)
    images: NDArray[np.float32] = torch.cat([images for images, _ in batches]).contiguous().numpy()
    return images


def _check_place(out: Path) -> None:
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"'{out}' must be a file in a folder that exists, but it is not; choose another place with --out")
