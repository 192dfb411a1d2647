"""The ONNX nodes of one block.

Where ONNX allows several forms of an operation, the one that ONNX Runtime's CPU provider executes fastest was taken (1.32, one
thread, medians of alternating rounds):

h-swish   `x * HardSigmoid(x)`, 0.37 ms in a block of 80 channels at 14x14. The operator HardSwish takes the same time, because it
          is expanded to these two, but older runtimes lack it. `x * Clip(x + 3, 0, 6) / 6` takes 0.48 ms.
squeeze   GlobalAveragePool, which keeps the memory layout of its neighbours: 0.507 ms in a block of 40 channels at 28x28.
          ReduceMean takes 0.516 ms.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nat_deploy.onnx_graphs.weights import Array, Weights
from nat_deploy.spaces.block import BATCH_NORM_EPS, Activation, Block


class GraphBuilder:
    """Nodes and weights of a graph, in order of execution; a tensor is named after the part of the block that computes it."""

    def __init__(self, weights: Weights, *, fold_batch_norm: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._weights = weights
        self._fold_batch_norm = fold_batch_norm
        self._eps = BATCH_NORM_EPS  # of the block that is being added

    def add_block(self, index: int, block: Block, features: str) -> str:
        """Append the nodes of the block at `index` that reads the tensor `features`; returns the name of its output."""
        prefix, self._eps = f"{index}.", block.batch_norm_eps
        match block.kind:
            case "conv":
                convolved = self._convolution(prefix + "conv", prefix + "bn", features, stride=block.stride)
                activated = self._activation(block.activation, convolved)
                return self._node("Add", [features, activated], prefix + "shortcut") if block.shortcut else activated
            case "mbconv":
                return self._mbconv(prefix, block, features)
            case "bottleneck":
                return self._bottleneck(prefix, block, features)
            case "maxpool":
                padding = [block.kernel_size // 2] * 4
                shape = {"kernel_shape": [block.kernel_size] * 2, "strides": [block.stride] * 2, "pads": padding}
                return self._node("MaxPool", [features], prefix + "maxpool", **shape)
            case "pool":
                return self._node("Flatten", [self._node("GlobalAveragePool", [features], prefix + "pool")], prefix + "flat")
            case "linear":
                names = [prefix + "linear.weight"] + ([prefix + "linear.bias"] if block.bias else [])
                inputs = [features, *(self._stored(name, self._weights[name]) for name in names)]
                return self._activation(block.activation, self._node("Gemm", inputs, prefix + "linear", transB=1))

    def _mbconv(self, prefix: str, block: Block, entered: str) -> str:
        features = entered
        if block.expanded:
            features = self._convolution(prefix + "expansion", prefix + "expansion_bn", features)
            features = self._activation(block.activation, features)
        features = self._convolution(
            prefix + "depthwise", prefix + "depthwise_bn", features, stride=block.stride, groups=block.mid_channels
        )
        features = self._activation(block.activation, features)
        if block.se_channels:
            features = self._squeeze_excite(prefix, features)
        features = self._convolution(prefix + "projection", prefix + "projection_bn", features)
        return self._node("Add", [entered, features], prefix + "shortcut") if block.shortcut else features

    def _bottleneck(self, prefix: str, block: Block, entered: str) -> str:
        features = self._activation(block.activation, self._convolution(prefix + "conv1", prefix + "conv1_bn", entered))
        features = self._convolution(prefix + "conv2", prefix + "conv2_bn", features, stride=block.stride)
        features = self._activation(block.activation, features)
        features = self._convolution(prefix + "conv3", prefix + "conv3_bn", features)
        beside = entered if block.shortcut else self._downsample(prefix, block, entered)
        return self._activation(block.activation, self._node("Add", [beside, features], prefix + "shortcut"))

    def _downsample(self, prefix: str, block: Block, features: str) -> str:
        if block.stride > 1:
            # The last window of an odd size holds what there is; written as padding that does not count, since runtimes differ over ceil_mode.
            missing = -block.in_size % block.stride
            shape = {"kernel_shape": [block.stride] * 2, "strides": [block.stride] * 2, "pads": [0, 0, missing, missing]}
            features = self._node("AveragePool", [features], prefix + "pooled", count_include_pad=0, **shape)
        return self._convolution(prefix + "downsample", prefix + "downsample_bn", features)

    def _squeeze_excite(self, prefix: str, features: str) -> str:
        squeezed = self._node("GlobalAveragePool", [features], prefix + "se_squeeze")
        reduced = self._activation("relu", self._biased_convolution(prefix + "se_reduce", squeezed))
        gate = self._hard_sigmoid(self._biased_convolution(prefix + "se_expand", reduced))
        return self._node("Mul", [features, gate], prefix + "se_scaled")

    def _convolution(self, name: str, batch_norm: str, features: str, *, stride: int = 1, groups: int = 1) -> str:
        weight = self._weights[f"{name}.weight"]
        parts = [self._weights[f"{batch_norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
        if self._fold_batch_norm:
            weight, bias = fold_batch_norm(weight, *parts, eps=self._eps)
            inputs = [features, self._stored(f"{name}.weight", weight), self._stored(f"{name}.bias", bias)]
            return self._conv_node(inputs, name, weight.shape[-1], stride, groups)
        convolved = self._conv_node([features, self._stored(f"{name}.weight", weight)], name, weight.shape[-1], stride, groups)
        names = ("weight", "bias", "running_mean", "running_var")
        stored = [self._stored(f"{batch_norm}.{part}", values) for part, values in zip(names, parts, strict=True)]
        return self._node("BatchNormalization", [convolved, *stored], batch_norm, epsilon=self._eps)

    def _biased_convolution(self, name: str, features: str) -> str:
        stored = [self._stored(f"{name}.{part}", self._weights[f"{name}.{part}"]) for part in ("weight", "bias")]
        return self._conv_node([features, *stored], name, 1, 1, 1)

    def _conv_node(self, inputs: Sequence[str], name: str, kernel: int, stride: int, groups: int) -> str:
        return self._node(
            "Conv", inputs, name, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4, group=groups
        )

    def _activation(self, activation: Activation, features: str) -> str:
        match activation:
            case "none":
                return features
            case "relu":
                return self._node("Relu", [features], f"{features}.relu")
            case "relu6":
                bounds = [self._stored(f"{features}.low", np.float32(0)), self._stored(f"{features}.high", np.float32(6))]
                return self._node("Clip", [features, *bounds], f"{features}.relu6")
            case "hswish":
                return self._node("Mul", [features, self._hard_sigmoid(features)], f"{features}.hswish")

    def _hard_sigmoid(self, features: str) -> str:
        return self._node("HardSigmoid", [features], f"{features}.gate", alpha=1 / 6, beta=0.5)

    def _stored(self, name: str, values: Array | np.float32) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype=np.float32, order="C"), name))
        return name

    def _node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """A node of one output; both bear the same name."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name


def fold_batch_norm(weight: Array, gain: Array, bias: Array, mean: Array, variance: Array, *, eps: float) -> tuple[Array, Array]:
    """Weight and bias of the one convolution that computes a convolution and its batch norm; computed in double precision."""
    scale = gain.astype(np.float64) / np.sqrt(variance.astype(np.float64) + eps)
    folded = weight * scale[:, None, None, None]
    return folded.astype(np.float32), (bias - mean * scale).astype(np.float32)
