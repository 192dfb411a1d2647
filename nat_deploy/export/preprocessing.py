"""A model that takes pixels as a decoder gives them: uint8, red green blue, pixel by pixel."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nat_deploy.data import Normalisation
from nat_deploy.export.inference import INPUT
from nat_deploy.onnx_graphs import BATCH_AXIS

_WHITE = 255.0


def include_preprocessing(model: onnx.ModelProto, normalisation: Normalisation) -> onnx.ModelProto:
    """The same model for `images` of uint8 (batch, R, R, 3), which it normalises itself; it does not resize."""
    scale, offset = _affine(normalisation)
    stored = [
        numpy_helper.from_array(values.reshape(1, 3, 1, 1), name)
        for name, values in (("pixels.scale", scale), ("pixels.offset", offset))
    ]
    steps = [
        helper.make_node("Transpose", [INPUT], ["pixels.planes"], name="pixels.planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["pixels.planes"], ["pixels.float"], name="pixels.float", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels.float", "pixels.scale"], ["pixels.scaled"], name="pixels.scaled"),
        helper.make_node("Add", ["pixels.scaled", "pixels.offset"], ["pixels.normalised"], name="pixels.normalised"),
    ]
    changed: onnx.ModelProto = onnx.ModelProto.FromString(model.SerializeToString())
    graph = changed.graph
    size = graph.input[0].type.tensor_type.shape.dim[2].dim_value
    for node in graph.node:
        node.input[:] = ["pixels.normalised" if name == INPUT else name for name in node.input]
    nodes = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*steps, *nodes])
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, (BATCH_AXIS, size, size, 3)))
    graph.initializer.extend(stored)
    onnx.checker.check_model(changed, full_check=True)
    return changed


def to_pixels(images: NDArray[np.float32], normalisation: Normalisation) -> NDArray[np.uint8]:
    """The nearest pixels (n, r, r, 3) of normalised images (n, 3, r, r)."""
    scale, offset = (values.reshape(3, 1, 1) for values in _affine(normalisation))
    pixels = np.rint((images - offset) / scale)
    return np.ascontiguousarray(pixels.clip(0, _WHITE).astype(np.uint8).transpose(0, 2, 3, 1))


def from_pixels(pixels: NDArray[np.uint8], normalisation: Normalisation) -> NDArray[np.float32]:
    """Normalised images (n, 3, r, r) of pixels (n, r, r, 3)."""
    scale, offset = (values.reshape(3, 1, 1) for values in _affine(normalisation))
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) * scale + offset)


def _affine(normalisation: Normalisation) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What a pixel of 0..255 is multiplied with, and what is added, in each channel."""
    mean, std = np.array(normalisation.mean), np.array(normalisation.std)
    return (1 / (_WHITE * std)).astype(np.float32), (-mean / std).astype(np.float32)
