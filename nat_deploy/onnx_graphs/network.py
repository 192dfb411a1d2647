"""ONNX graphs of one block or of a whole network, built node by node: milliseconds, no torch."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper

from nat_deploy.errors import ArchitectureError
from nat_deploy.onnx_graphs.block_graph import GraphBuilder
from nat_deploy.onnx_graphs.fp16 import to_fp16
from nat_deploy.onnx_graphs.int8 import to_int8
from nat_deploy.onnx_graphs.precision import Precision, Quantisation
from nat_deploy.onnx_graphs.random_weights import draw_weights
from nat_deploy.onnx_graphs.weights import Array, Weights, check_weights
from nat_deploy.spaces.block import Block

OPSET = 17  # the newest that TensorRT 8.5 (JetPack 5) reads
IR_VERSION = 8  # as old as opset 17 itself, so that every runtime that knows the opset opens the file
BATCH_AXIS = "batch"

_Dimension = int | str


def build_graph(
    blocks: Sequence[Block],
    *,
    weights: Weights | None = None,
    rng: np.random.Generator | None = None,
    batch_size: int | None = 1,
    fold_batch_norm: bool = True,
    copies: int = 1,
    precision: Precision = "fp32",
    quantisation: Quantisation | None = None,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """A checked ONNX model of a chain of blocks: a whole network, or one block for profiling.

    The input is named `images` where the first block is a convolution of three channels, else `features`; the output `logits`
    where the last block is linear without activation, else `features_out`. Maps have shape (N, C, H, W), vectors (N, C), float32.

    Args:
        blocks: One or more blocks, each fitting the one before it.
        weights: Arrays under exactly the names of `weight_shapes(blocks)`. Either these or `rng` must be given.
        rng: Draws random weights with which values neither vanish nor explode.
        batch_size: Images of one run, or `None` for a free first axis named "batch".
        fold_batch_norm: Compute each batch norm inside the convolution before it; fp16 and int8 always do.
        copies: How often the chain is repeated, for measuring what one more copy costs. Random weights are new in each copy, as
            in a network; given weights are repeated.
        precision: In which numbers the graph computes; input and output stay float32.
        quantisation: How the graph becomes int8. Given weights need one with ranges.
        metadata: Text that the model carries.

    Raises:
        ArchitectureError: A block does not fit the one before it, or the chain cannot follow itself.
        FileFormatError: Weights are missing, unexpected or misshapen, or too large for fp16.
    """
    if (weights is None) == (rng is None):
        raise ValueError("either weights or rng must be given, not both and not none")
    if not blocks or copies < 1 or (batch_size is not None and batch_size < 1):
        raise ValueError(f"blocks, copies and batch_size must be at least 1, but are {len(blocks)}, {copies} and {batch_size}")
    quantisation = _checked_quantisation(precision, quantisation, known_weights=weights is not None, fold=fold_batch_norm)
    if copies > 1:
        _check_repeatable(blocks)
    chain = tuple(blocks) * copies
    _check_chain(chain)
    if weights is not None:
        check_weights(blocks, weights)
        weights = _repeated(weights, len(blocks), copies)
    elif rng is not None:
        weights = draw_weights(chain, rng)
    builder = GraphBuilder(weights or {}, fold_batch_norm=fold_batch_norm)
    entry = output = _input_name(chain)
    for index, block in enumerate(chain):
        output = builder.add_block(index, block, output)
    nodes, initializers = builder.nodes, builder.initializers
    if precision == "fp16":
        nodes, initializers = to_fp16(nodes, initializers, entry=entry)
    elif quantisation is not None:
        nodes, initializers = to_int8(nodes, initializers, entry=entry, quantisation=quantisation)
    nodes[-1].output[0] = output = _output_name(chain)
    inputs = [_tensor(entry, _input_shape(chain[0], batch_size))]
    outputs = [_tensor(output, _output_shape(chain[-1], batch_size))]
    return _checked_model(nodes, inputs, outputs, initializers, metadata or {})


def build_identity_graph(shape: Sequence[int]) -> onnx.ModelProto:
    """A model that hands its input `features` on as `features_out`: what a run costs before any block is computed."""
    node = helper.make_node("Identity", ["features"], ["features_out"], name="identity")
    return _checked_model([node], [_tensor("features", shape)], [_tensor("features_out", shape)], [], {})


def _checked_quantisation(
    precision: Precision, quantisation: Quantisation | None, *, known_weights: bool, fold: bool
) -> Quantisation | None:
    """The quantisation of an int8 graph, and None for another one."""
    if precision != "fp32" and not fold:  # a batch norm of its own subtracts large numbers, which costs fp16 a further digit
        raise ValueError(f"a graph in {precision} has its batch norms folded, but fold_batch_norm is False")
    if precision != "int8":
        if quantisation is not None:
            raise ValueError(f"a quantisation belongs to int8, but the precision is {precision}")
        return None
    quantisation = quantisation or Quantisation()
    if known_weights and quantisation.ranges is None:
        raise ValueError("a graph in int8 with given weights needs the ranges of its tensors, but none came")
    return quantisation


def _check_chain(blocks: Sequence[Block]) -> None:
    for index, (before, after) in enumerate(pairwise(blocks)):
        if not _fits(before, after):
            raise ArchitectureError(
                f"block {index + 1} must take what block {index} gives, but {after.key} follows {before.key}; "
                "take the blocks of one architecture in their order"
            )


def _check_repeatable(blocks: Sequence[Block]) -> None:
    first, last = blocks[0], blocks[-1]
    if not _fits(last, first) or first.kind == "pool":
        chain = first.key if len(blocks) == 1 else f"{first.key} ... {last.key}"
        raise ArchitectureError(
            f"copies above 1 need blocks that give the shape they take, but {chain} gives another shape; ask for one copy"
        )


def _fits(before: Block, after: Block) -> bool:
    gives_vector = before.kind in ("pool", "linear")
    same_shape = before.out_channels == after.in_channels and before.out_size == after.in_size
    return same_shape and gives_vector == (after.kind == "linear")


def _repeated(weights: Weights, num_blocks: int, copies: int) -> Weights:
    """The same weights for every copy, numbered on."""
    if copies == 1:
        return weights
    repeated: dict[str, Array] = {}
    for name, values in weights.items():
        index, rest = name.split(".", maxsplit=1)
        repeated |= {f"{int(index) + copy * num_blocks}.{rest}": values for copy in range(copies)}
    return repeated


def _input_name(blocks: Sequence[Block]) -> str:
    return "images" if blocks[0].kind == "conv" and blocks[0].in_channels == 3 else "features"


def _output_name(blocks: Sequence[Block]) -> str:
    return "logits" if blocks[-1].kind == "linear" and blocks[-1].activation == "none" else "features_out"


def _input_shape(block: Block, batch_size: int | None) -> tuple[_Dimension, ...]:
    batch = BATCH_AXIS if batch_size is None else batch_size
    return (batch, block.in_channels) if block.kind == "linear" else (batch, block.in_channels, block.in_size, block.in_size)


def _output_shape(block: Block, batch_size: int | None) -> tuple[_Dimension, ...]:
    batch = BATCH_AXIS if batch_size is None else batch_size
    vector = block.kind in ("pool", "linear")
    return (batch, block.out_channels) if vector else (batch, block.out_channels, block.out_size, block.out_size)


def _tensor(name: str, shape: Sequence[_Dimension]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _checked_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[onnx.TensorProto],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """The model, after ONNX's checker and strict shape inference have agreed with it.

    Both copy what they check, so they are shown the weights as mere inputs of the same shapes, without the megabytes.
    """
    stand_ins = [helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in initializers]
    onnx.checker.check_model(_model(helper.make_graph(nodes, "natdeploy", [*inputs, *stand_ins], outputs)), full_check=True)
    model = _model(helper.make_graph(nodes, "natdeploy", inputs, outputs, initializer=initializers))
    helper.set_model_props(model, dict(metadata))
    return model


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(
        graph, producer_name="natdeploy", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
