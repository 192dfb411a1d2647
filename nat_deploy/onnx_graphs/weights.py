"""Names and shapes of a network's weights: the seam between networks in torch, files of weights and ONNX graphs.

`{i}` is the place of a block in its network:

    conv    {i}.conv, {i}.bn
    bottleneck
            {i}.conv1, {i}.conv1_bn, {i}.conv2, {i}.conv2_bn, {i}.conv3, {i}.conv3_bn, [{i}.downsample, {i}.downsample_bn]
    mbconv  [{i}.expansion, {i}.expansion_bn], {i}.depthwise, {i}.depthwise_bn, [{i}.se_reduce, {i}.se_expand],
            {i}.projection, {i}.projection_bn
    linear  {i}.linear
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import FileFormatError
from nat_deploy.spaces.block import Block

Array = NDArray[np.float32]
Weights = Mapping[str, Array]
Shape = tuple[int, ...]

_MAX_NAMES = 12  # names that one sentence lists of each kind


def weight_shapes(blocks: Sequence[Block]) -> dict[str, Shape]:
    """Every weight that a network of these blocks has, in order of execution."""
    return {f"{index}.{name}": shape for index, block in enumerate(blocks) for name, shape in _block_shapes(block).items()}


def layer_names(blocks: Sequence[Block]) -> tuple[str, ...]:
    """Names of the convolutions and linear layers, in order of execution; `NAME.weight` is the weight of each."""
    suffix = ".weight"
    shapes = weight_shapes(blocks)
    return tuple(name.removesuffix(suffix) for name, shape in shapes.items() if name.endswith(suffix) and len(shape) > 1)


def check_weights(blocks: Sequence[Block], weights: Weights) -> None:
    """Raise `FileFormatError` unless `weights` are the weights of these blocks; its sentence names the weights that are wrong."""
    expected = weight_shapes(blocks)
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    misshapen = [
        f"{name} is {weights[name].shape} instead of {shape}"
        for name, shape in expected.items()
        if name in weights and weights[name].shape != shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
    faults = [f"{len(names)} {kind} ({_listed(names)})" for kind, names in kinds if names]
    if faults:
        raise FileFormatError(
            f"weights must be those of the network's blocks, but there are {', '.join(faults)}; "
            "give the weights that were made for this architecture and number of classes"
        )


def _block_shapes(block: Block) -> dict[str, Shape]:
    kernel = (block.kernel_size, block.kernel_size)
    match block.kind:
        case "pool" | "maxpool":
            return {}
        case "bottleneck":
            entering, mid, out = block.in_channels, block.mid_channels, block.out_channels
            downsample = {} if block.shortcut else _normalised("downsample", "downsample_bn", (out, entering, 1, 1))
            return (
                _normalised("conv1", "conv1_bn", (mid, entering, 1, 1))
                | _normalised("conv2", "conv2_bn", (mid, mid, *kernel))
                | _normalised("conv3", "conv3_bn", (out, mid, 1, 1))
                | downsample
            )
        case "linear":
            weight: dict[str, Shape] = {"linear.weight": (block.out_channels, block.in_channels)}
            return weight | {"linear.bias": (block.out_channels,)} if block.bias else weight
        case "conv":
            return _normalised("conv", "bn", (block.out_channels, block.in_channels, *kernel))
        case "mbconv":
            mid, squeezed = block.mid_channels, block.se_channels
            expansion = _normalised("expansion", "expansion_bn", (mid, block.in_channels, 1, 1)) if block.expanded else {}
            depthwise = _normalised("depthwise", "depthwise_bn", (mid, 1, *kernel))
            squeeze = {
                "se_reduce.weight": (squeezed, mid, 1, 1),
                "se_reduce.bias": (squeezed,),
                "se_expand.weight": (mid, squeezed, 1, 1),
                "se_expand.bias": (mid,),
            }
            projection = _normalised("projection", "projection_bn", (block.out_channels, mid, 1, 1))
            return expansion | depthwise | (squeeze if squeezed else {}) | projection


def _normalised(convolution: str, batch_norm: str, shape: Shape) -> dict[str, Shape]:
    channels = (shape[0],)
    return {f"{convolution}.weight": shape} | {
        f"{batch_norm}.{part}": channels for part in ("weight", "bias", "running_mean", "running_var")
    }


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
