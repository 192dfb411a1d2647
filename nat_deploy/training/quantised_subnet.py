"""A subnet that computes in torch what its int8 graph computes, with gradients.

It walks the nodes of that graph instead of having blocks of its own, so what is trained is what is exported: which tensors are quantised, by whose rules, and where the
batch norms went. Only the weights are its own: they are folded and rounded anew in every pass.

Rounding has no useful gradient. It is taken for the identity on the way back (the straight-through estimator), and what saturates gets no gradient.

Sources: Jacob et al., CVPR 2018, section 3 (fake quantisation, batch norms folded with the statistics that are kept); Bengio et al., arXiv 1308.3432
(straight-through estimator).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor

from nat_deploy.onnx_graphs import Quantisation, build_graph
from nat_deploy.supernets import Subnet
from nat_deploy.supernets.folding import folded_weights

_LARGEST = 127  # integer of a weight, on both sides
_TINY = 1e-6  # least width of a channel's weights, as the graph has it


class QuantisedSubnet(Subnet):
    """The weights of a subnet under the same names; images (N, 3, R, R) to the logits (N, classes) of its int8 graph."""

    def __init__(self, subnet: Subnet, quantisation: Quantisation) -> None:
        super().__init__(subnet.blocks)
        self.load_state_dict(subnet.state_dict())
        graph = build_graph(
            subnet.blocks, weights=subnet.numpy_weights(), batch_size=None, precision="int8", quantisation=quantisation
        ).graph
        self._entry, self._exit = graph.input[0].name, graph.output[0].name
        self._steps = tuple(_with_last_uses(_read_steps(graph), self._exit))

    def forward(self, input: Tensor) -> Tensor:
        values = {**folded_weights(self), self._entry: input}
        for step in self._steps:
            values[step.output] = step.operation(*(values[name] for name in step.inputs))
            for name in step.no_longer_read:
                del values[name]
        return values[self._exit]


class _FakeQuantise(torch.autograd.Function):
    """Rounds to whole steps of `scale` between `low` and `high` steps, moved by `zero`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: float | Tensor, zero: int, low: int, high: int) -> Tensor:
        steps = (values / scale).round_().add_(zero)
        ctx.save_for_backward((steps >= low) & (steps <= high))
        return steps.clamp_(low, high).sub_(zero).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (is_inside,) = ctx.saved_tensors
        return gradients[0] * is_inside, None, None, None, None


def fake_quantise(values: Tensor, *, scale: float | Tensor, zero: int, low: int, high: int) -> Tensor:
    """What QuantizeLinear and DequantizeLinear leave of `values`; the gradient passes where nothing saturates."""
    quantised: Tensor = _FakeQuantise.apply(values, scale, zero, low, high)
    return quantised


def fake_quantise_weight(weight: Tensor) -> Tensor:
    """A weight in 8 bits, scaled per output channel (axis 0), as `quantise_weight` stores it."""
    widest = weight.detach().flatten(1).abs().amax(1).clamp(min=_TINY)
    scales = (widest / _LARGEST).view(-1, *[1] * (weight.ndim - 1))
    return fake_quantise(weight, scale=scales, zero=0, low=-_LARGEST, high=_LARGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One node; `no_longer_read` are tensors that no later step reads."""

    operation: Callable[..., Tensor]
    inputs: tuple[str, ...]
    output: str
    no_longer_read: frozenset[str] = frozenset()


def _with_last_uses(steps: Sequence[_Step], exit: str) -> Iterator[_Step]:
    last = {name: place for place, step in enumerate(steps) for name in step.inputs if name != exit}
    for place, step in enumerate(steps):
        yield _Step(
            operation=step.operation,
            inputs=step.inputs,
            output=step.output,
            no_longer_read=frozenset(name for name in step.inputs if last[name] == place),
        )


def _read_steps(graph: onnx.GraphProto) -> list[_Step]:
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    written = {node.output[0]: node for node in graph.node}
    return [_read_step(node, stored, written) for node in graph.node]


def _read_step(node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]], written: Mapping[str, onnx.NodeProto]) -> _Step:
    first, output = node.input[0], node.output[0]
    match node.op_type:
        case "QuantizeLinear":
            scale, zero = _scale_and_zero(node, stored)
            limits = np.iinfo(stored[node.input[2]].dtype)
            operation: Callable[..., Tensor] = partial(
                fake_quantise, scale=scale, zero=zero, low=int(limits.min), high=int(limits.max)
            )
        case "DequantizeLinear" if first in stored:
            return _Step(operation=fake_quantise_weight, inputs=(first.removesuffix(".q"),), output=output)
        case "DequantizeLinear":
            operation = _reading(_scale_and_zero(written[first], stored), _scale_and_zero(node, stored))
        case "Clip":
            low, high = (float(stored[name]) for name in node.input[1:])
            operation = partial(torch.clamp, min=low, max=high)
        case _:
            return _Step(operation=_operation(node), inputs=tuple(node.input), output=output)
    return _Step(operation=operation, inputs=(first,), output=output)


def _operation(node: onnx.NodeProto) -> Callable[..., Tensor]:
    """A node whose inputs are all tensors that are computed or trained."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    match node.op_type:
        case "Conv":
            return partial(F.conv2d, stride=attributes["strides"], padding=attributes["pads"][:2], groups=attributes["group"])
        case "Gemm":
            return F.linear
        case "Relu":
            return F.relu
        case "HardSigmoid":
            return F.hardsigmoid
        case "Mul":
            return torch.mul
        case "Add":
            return torch.add
        case "GlobalAveragePool":
            return partial(torch.mean, dim=(2, 3), keepdim=True)
        case "AveragePool":  # it pads nothing but the last window of an odd size
            return partial(F.avg_pool2d, kernel_size=attributes["kernel_shape"], stride=attributes["strides"], ceil_mode=True)
        case "MaxPool":
            return partial(
                F.max_pool2d,
                kernel_size=attributes["kernel_shape"],
                stride=attributes["strides"],
                padding=attributes["pads"][:2],
            )
        case "Flatten":
            return partial(torch.flatten, start_dim=1)
    raise ValueError(f"an int8 graph has no {node.op_type}, but {node.name} is one")


def _scale_and_zero(node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]]) -> tuple[float, int]:
    return float(stored[node.input[1]]), int(stored[node.input[2]])


def _reading(written: tuple[float, int], read: tuple[float, int]) -> Callable[[Tensor], Tensor]:
    """From a tensor quantised with one scale and zero point to its integers read with others: a gate is read like that."""
    (scale, zero), (other_scale, other_zero) = written, read
    if written == read:
        return _unchanged
    gain, offset = other_scale / scale, (zero - other_zero) * other_scale
    return partial(_affine, gain=gain, offset=offset)


def _unchanged(values: Tensor) -> Tensor:
    return values


def _affine(values: Tensor, *, gain: float, offset: float) -> Tensor:
    return values * gain + offset
