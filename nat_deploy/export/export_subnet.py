"""The whole export: find weights, calibrate, write the model, compare its outputs, write the sidecar."""

import copy
import hashlib
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from nat_deploy.data import DataSplits, ImageSet, Normalisation, Progress, calibration_batches, load_data
from nat_deploy.errors import InputError
from nat_deploy.export.formats import ENGINE_FORMATS, ModelFormat, find_format
from nat_deploy.export.inference import Images, Logits, run_node_by_node
from nat_deploy.export.parity import SIMULATION_TOLERANCE, ParityReport, Tolerance, compare, run_model
from nat_deploy.export.preprocessing import from_pixels, to_pixels
from nat_deploy.export.quantisation import LabelledImages, OnStep
from nat_deploy.export.quantisation_aware import Int8Subnet, quantise_subnet
from nat_deploy.export.sidecar import Part, Sidecar, save_sidecar, sidecar_path
from nat_deploy.export.to_onnx import subnet_to_onnx
from nat_deploy.export.weights import calibrated, check_classes, find_weights, hash_weights
from nat_deploy.files import open_atomically, writing_error
from nat_deploy.onnx_graphs import OPSET, Int8Form, Precision
from nat_deploy.spaces.subnet_file import SubnetFile
from nat_deploy.supernets import Subnet, predict_logits
from nat_deploy.training.quantised_subnet import QuantisedSubnet
from profilers.runtimes import open_runtime

_MAX_VALIDATION_IMAGES = 2000  # accuracy is then known to a point or so, and the drop, on the same images, to a third of that
_BATCH_SIZE = 64
_PRECISIONS = ", ".join(get_args(Precision))
_MIN_INT8_IMAGES = 64  # to be compared: a few of them may change their class


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
    precision: Precision = "fp32",
    weights: Path | None = None,
    calibrate: str | Path | None = None,
    max_drop: float = 1.0,
    int8_form: Int8Form = "onnxruntime",
    qat_epochs: int = 0,
    preprocessing: bool = False,
    normalisation: Normalisation | None = None,
    num_images: int = 16,
    num_calibration_images: int = 1024,
    tolerance: float | None = None,
    fold_batch_norm: bool = True,
    cache_dir: Path | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> ExportReport:
    """Export a subnet to `out`, with `out.json` beside it; both appear only when the model's outputs agree with the network's.

    Args:
        subnet_file: The content of a `subnet.json`.
        out: The file to write.
        format: One of `FORMATS` that is no engine. All are written from the same ONNX model; OpenVINO's weights lie beside `out`
            in a `.bin` file.
        precision: In which numbers the model computes; int8 needs `calibrate`. "litert" and "executorch" take fp32 only.
        weights: Supernet file to cut the weights out of; by default the weights that `subnet_file` names.
        calibrate: Data set, by name or folder: batch-norm statistics and int8 ranges are computed on its training images, and
            outputs are compared on its validation images. By default statistics stay as they are and random images are compared.
        max_drop: Most points of accuracy on validation images that int8 may cost; layers stay in float until it is met.
        int8_form: Whose rules for int8 the model keeps; TensorRT refuses what ONNX Runtime runs fast.
        qat_epochs: Where int8 would leave layers in float, so many epochs of quantisation-aware training are tried, and kept if they are better.
        preprocessing: Let the model take pixels, uint8 (n, R, R, 3), and normalise them itself.
        normalisation: What the network was trained with; by default what the weights say, else the data set's, else ImageNet's.
        num_images: Images whose outputs are compared, at least 2; int8 compares 64 if there are so many.
        num_calibration_images: Training images for the batch-norm statistics and for int8.
        tolerance: Largest relative error of an image's logits; by default that of the precision.
        fold_batch_norm: Compute each batch norm inside the convolution before it; only fp32 can do without.
        cache_dir: Where decoded images are kept; by default the user's cache folder.
        seed: Of the random or chosen images.
        on_step: Told what is done, how much of it, out of how much.

    Raises:
        MissingError: Weights or a package are missing.
        InputError: Arguments, weights or data that cannot be used.
        ParityError: The model computes something else, or the network is untrained, or int8 costs more accuracy than is
            allowed; nothing is kept.
        WorkError: The disk is full; nothing is kept.
    """
    if format in ENGINE_FORMATS:
        raise ValueError(f"format {format!r} is made of an ONNX export by export_engine")
    model_format = find_format(format)
    if model_format.is_plain:
        _check_plain(format, precision, preprocessing)
        fold_batch_norm = True
    _check_place(out, model_format)
    _check_precision(precision, calibrate is not None, fold_batch_norm, max_drop)
    if qat_epochs < 0 or (qat_epochs and precision != "int8"):
        raise InputError(
            f"qat_epochs must be at least 0, and 0 in {precision}, but it is {qat_epochs}; export with --precision int8"
        )
    if num_images < 2:
        raise InputError(f"at least 2 images must be compared, but {num_images} came; ask for more")
    if num_calibration_images < 1:
        raise InputError(f"at least 1 image must calibrate the batch norms, but {num_calibration_images} came; ask for more")
    arch = subnet_file.architecture
    found = find_weights(subnet_file, weights)
    subnet, known = found.subnet, normalisation or found.normalisation
    data = None
    if calibrate is not None:
        data = load_data(
            calibrate,
            image_size=arch.resolution,
            seed=seed,
            cache_dir=cache_dir,
            normalisation=known,
            progress=_decoding(on_step),
        )
        subnet = calibrated(subnet, data, resolution=arch.resolution, num_images=num_calibration_images, seed=seed)
        known = data.normalisation
    known = known or Normalisation()
    arrays = subnet.numpy_weights()
    int8: Int8Subnet | None = None
    if precision == "int8" and data is not None:
        check_classes(data, found, purpose="judge int8")
        int8 = quantise_subnet(
            subnet,
            data,
            images=_draw(data.train, arch.resolution, num_calibration_images, seed).images,
            validation=_draw(_held_out(data), arch.resolution, _MAX_VALIDATION_IMAGES, seed),
            epochs=qat_epochs,
            checkpoint=out,
            form=int8_form,
            max_drop=max_drop,
            seed=seed,
            on_step=on_step,
        )
        arrays = int8.subnet.numpy_weights()
        num_images = max(num_images, _MIN_INT8_IMAGES)
    model = subnet_to_onnx(
        subnet_file.space,
        arch,
        arrays,
        normalisation=known,
        class_names=found.class_names,
        fold_batch_norm=fold_batch_norm,
        precision=precision,
        quantisation=None if int8 is None else int8.quantisation,
        preprocessing=preprocessing,
    )
    contents = model_format.write(model)
    images = _images_to_compare(data, arch.resolution, num_images, seed)
    given: NDArray[np.float32] | NDArray[np.uint8] = images
    if preprocessing:
        given = to_pixels(images, known)
        images = from_pixels(given, known)
    allowed = Tolerance.of(precision)
    simulation = None if int8 is None else predict_logits(QuantisedSubnet(int8.subnet, int8.quantisation), images)
    is_trained = int8 is not None and int8.subnet is not subnet
    parity = compare(
        _run_files(contents, given, model_format),
        simulation if simulation is not None and is_trained else reference_logits(subnet, images),
        tolerance=allowed if tolerance is None else replace(allowed, relative_error=tolerance),
        images="random" if data is None else data.name,
        runtime=f"{model_format.runtime} {open_runtime(model_format.runtime).version()}",
    )
    simulated = None
    if simulation is not None:
        simulated = compare(
            run_node_by_node(model, given),
            simulation,
            tolerance=SIMULATION_TOLERANCE,
            images=parity.images,
            runtime="onnxruntime, node by node",
        )
    files = [out, *(out.with_suffix(suffix) for suffix in model_format.suffixes[1:])]
    with ExitStack() as stack:
        for path, content in zip(files, contents, strict=True):
            file = stack.enter_context(open_atomically(path))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a full disk shows here, before there is a sidecar
        sidecar = Sidecar(
            natdeploy=version("natdeploy"),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            model=out.name,
            model_format=format,
            model_sha256=hashlib.sha256(contents[0]).hexdigest(),
            num_bytes=sum(len(content) for content in contents),
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
            precision=precision,
            preprocessing=preprocessing,
            simulated_parity=simulated,
            quantisation=None if int8 is None else int8.report,
            parts=tuple(
                Part(name=path.name, sha256=hashlib.sha256(content).hexdigest())
                for path, content in zip(files[1:], contents[1:], strict=True)
            ),
            layout=model_format.layout,
            batch_size=model_format.batch_size,
        )
        save_sidecar(sidecar_path(out), sidecar)  # before the model appears: a model without its sidecar would be half an export
    return ExportReport(model=out, sidecar_file=sidecar_path(out), sidecar=sidecar)


@torch.no_grad()
def reference_logits(subnet: Subnet, images: NDArray[np.float32]) -> Logits:
    """Logits (n, classes) of images (n, 3, r, r), in double precision so that only the exported model rounds."""
    logits: Logits = copy.deepcopy(subnet).eval().double()(torch.from_numpy(images).double()).numpy()
    return logits


def _run_files(contents: Sequence[bytes], images: Images, model_format: ModelFormat) -> Logits:
    """Logits of the files as their runtime reads them, from a place where nobody finds them if they are wrong."""
    with tempfile.TemporaryDirectory(prefix="natdeploy-") as folder:
        paths = [Path(folder) / f"model{suffix}" for suffix in model_format.suffixes]
        for path, content in zip(paths, contents, strict=True):
            try:
                path.write_bytes(content)
            except OSError as error:
                raise writing_error(path, error) from error
        return run_model(paths[0], images, model_format)


def _images_to_compare(data: DataSplits | None, resolution: int, count: int, seed: int) -> NDArray[np.float32]:
    """Images (n, 3, r, r), normalised: held-out ones, or normally distributed numbers where there is no data."""
    if data is None:
        return np.random.default_rng(seed).standard_normal((count, 3, resolution, resolution), dtype=np.float32)
    return _draw(_held_out(data), resolution, count, seed).images


def _held_out(data: DataSplits) -> ImageSet:
    return data.val if len(data.val) >= 2 else data.train  # one image alone cannot show that the network tells images apart


def _draw(source: ImageSet, resolution: int, count: int, seed: int) -> LabelledImages:
    """At most `count` images, the same for the same seed."""
    drawn = list(calibration_batches(source, count=count, batch_size=_BATCH_SIZE, resolution=resolution, seed=seed))
    return LabelledImages(
        images=torch.cat([images for images, _ in drawn]).contiguous().numpy(),
        labels=torch.cat([labels for _, labels in drawn]).numpy(),
    )


def _decoding(on_step: OnStep | None) -> Progress | None:
    if on_step is None:
        return None
    return lambda done, total: on_step("reading images", done, total)


def _check_precision(precision: Precision, has_images: bool, fold_batch_norm: bool, max_drop: float) -> None:
    if precision not in get_args(Precision):
        raise InputError(f"precision must be one of {_PRECISIONS}, but it is '{precision}'; choose one of these")
    if precision == "int8" and not has_images:
        raise InputError("int8 needs images to learn the ranges of its numbers, but none came; add --calibrate DATA")
    if precision != "fp32" and not fold_batch_norm:
        raise InputError(f"batch norms must be folded in {precision}, but fold_batch_norm is False; leave it out")
    if not 0 <= max_drop < inf:
        raise InputError(f"max_drop must be a number of points of at least 0, but it is {max_drop}; give for example 1.0")


def _check_plain(format: str, precision: Precision, preprocessing: bool) -> None:
    if precision != "fp32" or preprocessing:
        what = f"precision {precision}" if precision != "fp32" else "preprocessing"
        raise InputError(
            f"format '{format}' holds float32 networks alone so far, but {what} came; leave it out, or export to onnx"
        )


def _check_place(out: Path, model_format: ModelFormat) -> None:
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"'{out}' must be a file in a folder that exists, but it is not; choose another place with --out")
    first, *others = model_format.suffixes
    if others and out.suffix != first:
        raise InputError(
            f"'{out}' must end in {first}, because {', '.join(others)} of the same name belongs beside it; choose another --out"
        )
