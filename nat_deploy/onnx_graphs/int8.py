"""A graph in int8, written with QuantizeLinear and DequantizeLinear (Q/DQ) around float operators, which runtimes fuse into
integer kernels.

Weights are signed, symmetric and scaled per output channel; activations have one scale per tensor; biases stay float, since
TensorRT refuses quantised ones and ONNX Runtime quantises them itself. What the two want differs beyond that, so there are two
forms (ONNX Runtime 1.32 on an AMD EPYC with VNNI, one thread, w1.0 at 224 pixels; fp32 takes 6.32 ms):

onnxruntime  Activations are uint8 with a zero point: in int8 they are not fused on x86 and take 3.6 times as long as fp32.
             Every tensor between two steps is quantised, else a convolution has no integer output and falls back to float. A
             hard sigmoid is an affine map that saturates, and quantising is just that: reading a tensor again with a sixth of
             its scale and its zero point moved by 3, then quantising to 0..1, gives the gate without a float operator
             (4.63 ms; with HardSigmoid in float 4.81 ms, with its product in float too 4.87 ms). Squeeze-excite in int8 saves
             7 %. A ReLU goes before quantising, where it vanishes into the convolution: after it, it costs 20 % of the network.
tensorrt     Activations are int8 with zero point 0, the only one that is accepted. Only the inputs of multiplying layers and the
             shortcut are quantised, since TensorRT fuses activations into the kernel before and chooses what moves through
             memory itself; squeeze-excite stays float.

Sources: Jacob et al., CVPR 2018 (the arithmetic); Krishnamoorthi, 2018 (per-channel weights).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from nat_deploy.onnx_graphs.precision import Int8Form, Quantisation, Range
from nat_deploy.onnx_graphs.weights import Array

LAYERS = ("Conv", "Gemm")
_RECTIFIERS = ("Relu", "Clip")
_GATE = Range(low=0.0, high=1.0)
_GATE_SPAN = 3.0  # a hard sigmoid rises from 0 at -3 to 1 at 3
_RANDOM = Range(low=-6.0, high=6.0)  # with `draw_weights`, most values lie inside; those outside saturate
_RANDOM_RECTIFIED = Range(low=0.0, high=6.0)
_LEVELS = 255  # steps of an 8-bit number
_TINY = 1e-6  # least width of a range: a tensor that is always zero has a scale too


def to_int8(
    nodes: Sequence[onnx.NodeProto], initializers: Sequence[onnx.TensorProto], *, entry: str, quantisation: Quantisation
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes and weights of the Q/DQ graph; the output of the last node, float32, is its output.

    Args:
        nodes: Of a float32 graph of `GraphBuilder`, batch norms folded.
        entry: Name of its input.

    Raises:
        ValueError: A range is missing, or a layer to be left in float does not exist.
    """
    layers = {node.name for node in nodes if node.op_type in LAYERS}
    unknown = quantisation.float_layers - layers
    if unknown:
        raise ValueError(f"float_layers must be layers of the graph, but {', '.join(sorted(unknown))} are not")
    rewriter = _Rewriter(nodes, initializers, entry, quantisation)
    for node in nodes:
        rewriter.add(node)
    return rewriter.finished(nodes[-1].output[0])


def takes_int8(layer: str, form: Int8Form) -> bool:
    """Whether a form has this layer in int8 at all; `layer` is one of `layer_names`."""
    return form == "onnxruntime" or ".se_" not in layer


class _Rewriter:
    """Writes a graph anew, node by node.

    A tensor is `native` where the step that gives it computes in integers; whoever reads it, reads it through Q/DQ. Other tensors
    get Q/DQ when an integer step reads them, and float steps go on reading the float.
    """

    def __init__(
        self,
        nodes: Sequence[onnx.NodeProto],
        initializers: Sequence[onnx.TensorProto],
        entry: str,
        quantisation: Quantisation,
    ) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._stored = {tensor.name: tensor for tensor in initializers}
        self._ranges = quantisation.ranges
        self._float_layers = quantisation.float_layers
        self._form = quantisation.form
        self._integer_steps = quantisation.form == "onnxruntime"
        self._dequantised: dict[str, str] = {}
        # Within a network, integers come in; a block to be measured alone has to be like that.
        self._native = {entry} if self._integer_steps and self._ranges is None else set()
        self._gates = {node.output[0] for node in nodes if node.op_type == "HardSigmoid"}
        self._gated = {node.input[0] for node in nodes if node.op_type == "HardSigmoid"}
        self._rectified = {node.output[0] for node in nodes if node.op_type in _RECTIFIERS}

    def add(self, node: onnx.NodeProto) -> None:
        first, output = node.input[0], node.output[0]
        native = first in self._native
        if node.op_type in LAYERS:
            native = self._add_layer(node)
        elif node.op_type in _RECTIFIERS:
            self._append(node, node.input)  # the float: between layer and rectifier nothing is quantised
        elif node.op_type == "HardSigmoid" and native:
            self._add_gate(first, output)
        elif node.op_type == "Mul" and native:
            self._append(node, [self._quantised(name) for name in node.input])
        else:
            native = all(name in self._native for name in node.input)
            self._append(node, [self._read(name) for name in node.input])
        if native:
            self._native.add(output)

    def finished(self, output: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """The nodes, of which the last gives the output, and the weights that they read."""
        if output in self._native:
            self._quantised(output)
        read = {name for node in self._nodes for name in node.input}
        nodes = [node for node in self._nodes[:-1] if node.output[0] in read]  # some tensors are read by their gate only
        return [*nodes, self._nodes[-1]], [tensor for tensor in self._stored.values() if tensor.name in read]

    def _add_layer(self, node: onnx.NodeProto) -> bool:
        """Append a convolution or linear layer; returns whether its output is native."""
        features, weight, *bias = node.input
        if node.name in self._float_layers or not takes_int8(node.name, self._form):
            self._append(node, [self._read(features), weight, *bias])
            return False
        inputs = [self._quantised(features), self._quantised_weight(weight)]
        if self._integer_steps and node.op_type == "Gemm":  # it gives logits, or floats to its activation
            self._add_linear(node, inputs, bias)
            return False
        self._append(node, [*inputs, *bias])
        return self._integer_steps

    def _add_linear(self, node: onnx.NodeProto, inputs: Sequence[str], bias: Sequence[str]) -> None:
        """A linear layer that adds its bias in a step of its own: with a float bias, it would not be fused."""
        output = node.output[0]
        if bias:
            node.output[0] = f"{output}.product"
        self._append(node, inputs)
        if bias:
            self._nodes.append(helper.make_node("Add", [node.output[0], *bias], [output], name=f"{output}.biased"))

    def _add_gate(self, features: str, output: str) -> None:
        """The hard sigmoid of a native tensor: its integers read with another scale and zero point."""
        self._quantised(features)
        scale, zero = self._scale_and_zero(features)
        moved = zero - np.uint8(round(_GATE_SPAN / float(scale)))
        inputs = [f"{features}.q", self._store(f"{output}.in_scale", scale / np.float32(2 * _GATE_SPAN))]
        inputs.append(self._store(f"{output}.in_zero", moved))
        self._nodes.append(helper.make_node("DequantizeLinear", inputs, [output], name=output))

    def _read(self, name: str) -> str:
        """Where a float step finds a tensor."""
        if name in self._native:
            return self._quantised(name)
        return name if self._integer_steps else self._dequantised.get(name, name)

    def _quantised(self, name: str) -> str:
        """Where a tensor is found after quantising; Q/DQ are written when it is first asked for."""
        if name not in self._dequantised:
            scale, zero = self._scale_and_zero(name)
            parameters = [self._store(f"{name}.scale", scale), self._store(f"{name}.zero", zero)]
            quantised, dequantised = f"{name}.q", f"{name}.dq"
            self._nodes.append(helper.make_node("QuantizeLinear", [name, *parameters], [quantised], name=quantised))
            self._nodes.append(helper.make_node("DequantizeLinear", [quantised, *parameters], [dequantised], name=dequantised))
            self._dequantised[name] = dequantised
        return self._dequantised[name]

    def _quantised_weight(self, name: str) -> str:
        integers, scales = quantise_weight(numpy_helper.to_array(self._stored[name]))
        zeros = self._store(f"{name}.zero", np.zeros_like(scales, dtype=np.int8))  # linear layers are not fused without
        inputs = [self._store(f"{name}.q", integers), self._store(f"{name}.scale", scales), zeros]
        dequantised = f"{name}.dq"
        self._nodes.append(helper.make_node("DequantizeLinear", inputs, [dequantised], name=dequantised, axis=0))
        return dequantised

    def _scale_and_zero(self, name: str) -> tuple[np.float32, np.integer[Any]]:
        lying = self._range(name)
        if not self._integer_steps:
            return np.float32(max(-lying.low, lying.high, _TINY) / (_LEVELS // 2)), np.int8(0)
        low = min(lying.low, -_GATE_SPAN) if name in self._gated else lying.low
        scale = max(lying.high - low, _TINY) / _LEVELS
        if name in self._gated:  # a whole number of steps to the gate's edge, so that moving the zero point is exact
            scale = _GATE_SPAN / max(1, math.floor(_GATE_SPAN / scale))
        return np.float32(scale), np.uint8(min(_LEVELS, round(-low / scale)))

    def _range(self, name: str) -> Range:
        if name in self._gates:
            return _GATE
        if self._ranges is None:
            return _RANDOM_RECTIFIED if name in self._rectified else _RANDOM
        if name not in self._ranges:
            raise ValueError(f"ranges must hold every tensor of the graph, but {name} is missing")
        return self._ranges[name]

    def _store(self, name: str, values: Any) -> str:
        if name not in self._stored:
            self._stored[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def _append(self, node: onnx.NodeProto, inputs: Sequence[str]) -> None:
        node.input[:] = inputs
        self._nodes.append(node)


def quantise_weight(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """Integers of the weight's shape and one scale per output channel (axis 0); their product is the weight, rounded."""
    flat = weight.reshape(len(weight), -1)
    scales = np.maximum(np.abs(flat).max(axis=1), _TINY) / np.float32(_LEVELS // 2)
    integers = np.rint(flat / scales[:, None]).astype(np.int8)
    return integers.reshape(weight.shape), scales.astype(np.float32)
