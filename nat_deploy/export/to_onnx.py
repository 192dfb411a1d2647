"""A subnet as an ONNX file that says what it is."""

import json
from collections.abc import Sequence
from importlib.metadata import version

import onnx

from nat_deploy.data import Normalisation
from nat_deploy.export.preprocessing import include_preprocessing
from nat_deploy.export.weights import hash_weights
from nat_deploy.onnx_graphs import Precision, Quantisation, Weights, build_graph
from nat_deploy.spaces import Architecture, SearchSpace

METADATA_FORMAT = 1


def subnet_to_onnx(
    space: SearchSpace,
    architecture: Architecture,
    weights: Weights,
    *,
    normalisation: Normalisation,
    class_names: Sequence[str] | None = None,
    fold_batch_norm: bool = True,
    precision: Precision = "fp32",
    quantisation: Quantisation | None = None,
    preprocessing: bool = False,
) -> onnx.ModelProto:
    """The checked ONNX model of a subnet with a free batch: `images` (batch, 3, R, R) to `logits` (batch, classes), float32.

    With `preprocessing`, `images` are pixels instead, uint8 (batch, R, R, 3).

    Its metadata, with `natdeploy.` before each name: format, version, space, precision, num_classes, weights_sha256 as text;
    architecture, preprocessing and, where known, class_names as JSON.

    Raises:
        FileFormatError: Weights are missing, unexpected or misshapen, or too large for fp16.
    """
    metadata = {
        "format": str(METADATA_FORMAT),
        "version": version("natdeploy"),
        "space": space.name,
        "architecture": json.dumps(describe_architecture(architecture)),
        "precision": precision,
        "num_classes": str(space.num_classes),
        "preprocessing": json.dumps(describe_preprocessing(architecture, normalisation, included=preprocessing)),
        "weights_sha256": hash_weights(weights),
    }
    if class_names is not None:
        metadata["class_names"] = json.dumps(list(class_names))
    model = build_graph(
        space.blocks(architecture),
        weights=weights,
        batch_size=None,
        fold_batch_norm=fold_batch_norm,
        precision=precision,
        quantisation=quantisation,
        metadata={f"natdeploy.{key}": value for key, value in metadata.items()},
    )
    return include_preprocessing(model, normalisation) if preprocessing else model


def describe_architecture(architecture: Architecture) -> dict[str, object]:
    """For JSON; the keys are those of `subnet.json`."""
    document: dict[str, object] = {
        "space": architecture.space,
        "resolution": architecture.resolution,
        "depth": list(architecture.depth),
        "kernel": list(architecture.kernel),
        "expand": list(architecture.expand),
    }
    return document | ({"width": list(architecture.width)} if architecture.width else {})


def describe_preprocessing(
    architecture: Architecture, normalisation: Normalisation, *, included: bool = False
) -> dict[str, object]:
    """For JSON: what makes an image of white 1 and black 0 the input that the network was trained on.

    With `included`, the model does that itself and takes pixels of white 255 and black 0.
    """
    return {
        "resolution": architecture.resolution,
        "channels": "RGB",
        "layout": "NHWC" if included else "NCHW",
        "type": "uint8" if included else "float32",
        "included": included,
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
    }
