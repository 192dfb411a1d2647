"""What a block's latency can depend on: counts of work and of traffic, without any device."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.latency.prediction import FloatArray
from nat_deploy.spaces import Block, count_macs, count_params

NUM_FEATURES = 11


def block_features(blocks: Sequence[Block]) -> FloatArray:
    """Physical features of each block, shape `(num_blocks, NUM_FEATURES)`, all additive over the blocks of a network.

    Of an mbconv, in this order: 1 (one launch), MACs of the entering convolution, MACs of the projection, depthwise outputs with kernel 3, 5
    and 7, values written by the expansion, values written by the depthwise convolution, values at both ends of the block,
    parameters, values passed again by squeeze-excite. A bottleneck has the MACs of its middle convolution in place of the depthwise
    outputs, and values of its downsampling in place of squeeze-excite.
    """
    return np.array([_features(block) for block in blocks], dtype=np.float64).reshape(-1, NUM_FEATURES)


def layer_types(blocks: Sequence[Block]) -> NDArray[np.int64]:
    """Number of the layer type of each block, shape `(num_blocks,)`: alike are blocks that differ in size, kernel and expansion
    only.

    The outputs of a linear layer do not count either, so that the classifier is one type, however many classes there are.
    """
    return _numbered(
        [(b.kind, b.in_channels, _fixed_outputs(b), b.stride, b.se_channels > 0, b.shortcut, b.activation) for b in blocks]
    )


def layer_variants(blocks: Sequence[Block]) -> NDArray[np.int64]:
    """Number of the variant of each block, shape `(num_blocks,)`: alike are blocks that differ in size only."""
    types = layer_types(blocks)
    return _numbered([(kind, block.kernel_size, block.mid_channels) for kind, block in zip(types, blocks, strict=True)])


def block_traffic(features: FloatArray) -> FloatArray:
    """Values that each block reads and writes, shape `(num_blocks,)`, from its features: one number that grows with the latency
    on most devices."""
    return np.asarray(features[:, 6] + features[:, 7] + features[:, 8])


def block_size(blocks: Sequence[Block], features: FloatArray) -> FloatArray:
    """MACs and traffic of each block, shape `(num_blocks, 2)`."""
    return np.column_stack([[count_macs(block) for block in blocks], block_traffic(features)])


def features_by_type(blocks: Sequence[Block], features: FloatArray) -> FloatArray:
    """The features of each block in the columns of its layer type, zero elsewhere; shape `(num_blocks, p)`."""
    by_type = _one_hot(layer_types(blocks))[:, :, None] * features[:, None, :]
    columns = by_type.reshape(len(blocks), -1)
    return np.asarray(columns[:, columns.any(axis=0)])


def traffic_by_variant(blocks: Sequence[Block], features: FloatArray) -> FloatArray:
    """The traffic of each block in the column of its variant, zero elsewhere; shape `(num_blocks, p)`."""
    return np.asarray(_one_hot(layer_variants(blocks)) * block_traffic(features)[:, None])


def _features(block: Block) -> tuple[float, ...]:
    area_in, area_out, mid = block.in_size**2, block.out_size**2, block.mid_channels
    ends = block.in_channels * area_in + block.out_channels * area_out
    if block.kind == "bottleneck":
        downsampled = 0 if block.shortcut else block.out_channels * area_out
        middle = block.kernel_size**2 * mid * mid * area_out
        entering = block.in_channels * (mid * area_in + downsampled)
        return (
            1,
            entering,
            mid * block.out_channels * area_out,
            middle,
            0,
            0,
            mid * area_in,
            mid * area_out,
            ends,
            count_params(block),
            downsampled,
        )
    if block.kind != "mbconv":
        return (1, count_macs(block), 0, 0, 0, 0, 0, 0, ends, count_params(block), 0)
    kernel = block.kernel_size
    return (
        1,
        block.in_channels * mid * area_in if block.expanded else 0,
        mid * block.out_channels * area_out,
        *(mid * area_out if kernel == size else 0 for size in (3, 5, 7)),
        mid * area_in if block.expanded else 0,
        mid * area_out,
        ends,
        count_params(block),
        mid * area_out if block.se_channels else 0,
    )


def _fixed_outputs(block: Block) -> int:
    return 0 if block.kind == "linear" else block.out_channels


def _numbered(values: Sequence[object]) -> NDArray[np.int64]:
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def _one_hot(numbers: NDArray[np.int64]) -> FloatArray:
    return np.eye(int(numbers.max()) + 1)[numbers]
