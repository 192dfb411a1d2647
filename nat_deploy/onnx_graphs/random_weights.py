"""Random weights with which a network computes ordinary numbers.

Plain random weights let the values of a deep network vanish, and a processor is slower on denormal numbers: a latency measured on
them is wrong, and outputs that are all zero agree with anything. So weights are drawn as He et al. (ICCV 2015) do, and each batch
norm gets the statistics that it would have gathered on normally distributed features: mean and variance of every channel are
carried through the network, with values of different places and channels taken as independent. One block then keeps the size of
its values; over a whole network they grow some hundredfold, which costs no time and overflows nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from nat_deploy.onnx_graphs.weights import Array
from nat_deploy.spaces.block import Activation, Block

Floats = NDArray[np.float32 | np.float64]

_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(12)
_NODES, _NODE_WEIGHTS = _NODES.astype(np.float32), (_NODE_WEIGHTS / _NODE_WEIGHTS.sum()).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Mean and variance of each channel, arrays of shape `(channels,)`."""

    mean: Floats
    variance: Floats

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(mean=self.mean + other.mean, variance=self.variance + other.variance)

    def scaled(self, factor: Floats) -> "Moments":
        return Moments(mean=self.mean * factor, variance=self.variance * factor**2)

    def activated(self, activation: Activation) -> "Moments":
        """After an activation of normally distributed values (Gauss-Hermite quadrature)."""
        values = _activate(self.mean[:, None] + np.sqrt(self.variance)[:, None] * _NODES, activation)
        mean = values @ _NODE_WEIGHTS
        return Moments(mean=mean, variance=values**2 @ _NODE_WEIGHTS - mean**2)


def draw_weights(blocks: Sequence[Block], rng: np.random.Generator) -> dict[str, Array]:
    """Random weights under the names of `weight_shapes`, for features of mean 0 and variance 1."""
    channels = blocks[0].in_channels
    moments = Moments(mean=np.zeros(channels, np.float32), variance=np.ones(channels, np.float32))
    weights: dict[str, Array] = {}
    for index, block in enumerate(blocks):
        draw = _BlockDraw(f"{index}.", block, rng)
        moments = draw.run(moments)
        weights |= draw.weights
    return weights


@dataclass(slots=True)
class _BlockDraw:
    prefix: str
    block: Block
    rng: np.random.Generator
    weights: dict[str, Array] = field(default_factory=dict)

    def run(self, moments: Moments) -> Moments:
        block = self.block
        match block.kind:
            case "pool" | "maxpool":
                return moments
            case "bottleneck":
                return self._bottleneck(moments)
            case "linear":
                return self._linear(moments)
            case "conv":
                shape = (block.out_channels, block.in_channels, block.kernel_size, block.kernel_size)
                activated = self._convolution("conv", "bn", shape, moments).activated(block.activation)
                return activated + moments if block.shortcut else activated
            case "mbconv":
                return self._mbconv(moments)

    def _mbconv(self, entered: Moments) -> Moments:
        block, mid, moments = self.block, self.block.mid_channels, entered
        if block.expanded:
            shape = (mid, block.in_channels, 1, 1)
            moments = self._convolution("expansion", "expansion_bn", shape, moments).activated(block.activation)
        shape = (mid, 1, block.kernel_size, block.kernel_size)
        moments = self._convolution("depthwise", "depthwise_bn", shape, moments).activated(block.activation)
        if block.se_channels:
            moments = moments.scaled(self._gate(moments.mean))
        moments = self._convolution("projection", "projection_bn", (block.out_channels, mid, 1, 1), moments)
        return moments + entered if block.shortcut else moments

    def _bottleneck(self, entered: Moments) -> Moments:
        block, mid, kernel = self.block, self.block.mid_channels, self.block.kernel_size
        moments = self._convolution("conv1", "conv1_bn", (mid, block.in_channels, 1, 1), entered).activated(block.activation)
        moments = self._convolution("conv2", "conv2_bn", (mid, mid, kernel, kernel), moments).activated(block.activation)
        moments = self._convolution("conv3", "conv3_bn", (block.out_channels, mid, 1, 1), moments)
        if not block.shortcut:
            entered = self._convolution("downsample", "downsample_bn", (block.out_channels, block.in_channels, 1, 1), entered)
        return (moments + entered).activated(block.activation)

    def _convolution(self, name: str, batch_norm: str, shape: tuple[int, int, int, int], moments: Moments) -> Moments:
        weight = self._he(f"{name}.weight", shape)
        seen, share = _seen_taps(shape[-1], self.block.stride, self.block.in_size)
        taps = weight.reshape(*shape[:2], -1)
        means = _over_inputs(taps @ seen.T, moments.mean)
        mean = means @ share
        variance = (_over_inputs(taps**2 @ seen.T, moments.variance) + (means - mean[:, None]) ** 2) @ share
        channels = shape[0]
        gain = self._keep(f"{batch_norm}.weight", self.rng.uniform(0.8, 1.2, channels))
        bias = self._keep(f"{batch_norm}.bias", 0.1 * self.rng.standard_normal(channels))
        self._keep(f"{batch_norm}.running_mean", mean)
        self._keep(f"{batch_norm}.running_var", variance)
        return Moments(mean=bias, variance=gain**2)

    def _gate(self, squeezed: Floats) -> Floats:
        mid, narrow = self.block.mid_channels, self.block.se_channels
        reduce = self._he("se_reduce.weight", (narrow, mid, 1, 1))[:, :, 0, 0]
        reduced = np.maximum(reduce @ squeezed + self._bias("se_reduce.bias", narrow), 0)
        expand = self._he("se_expand.weight", (mid, narrow, 1, 1))[:, :, 0, 0]
        expanded = expand @ reduced + self._bias("se_expand.bias", mid)
        gate: Floats = np.clip(expanded / 6 + 0.5, 0, 1)
        return gate

    def _linear(self, moments: Moments) -> Moments:
        weight = self._he("linear.weight", (self.block.out_channels, self.block.in_channels))
        mean = weight @ moments.mean
        if self.block.bias:
            mean = mean + self._bias("linear.bias", self.block.out_channels)
        return Moments(mean=mean, variance=weight**2 @ moments.variance).activated(self.block.activation)

    def _he(self, name: str, shape: tuple[int, ...]) -> Array:
        fan_in = int(np.prod(shape[1:]))
        weight = self.rng.standard_normal(shape, dtype=np.float32)
        weight *= np.float32(np.sqrt(2 / fan_in))
        return self._keep(name, weight)

    def _bias(self, name: str, channels: int) -> Array:
        return self._keep(name, 0.1 * self.rng.standard_normal(channels))

    def _keep(self, name: str, values: Floats) -> Array:
        self.weights[self.prefix + name] = kept = values.astype(np.float32, copy=False)
        return kept


def _over_inputs(terms: Floats, per_channel: Floats) -> Floats:
    """Terms (out, in, n) times a value of each input channel, summed to (out, n); a depthwise kernel's are (channels, 1, n)."""
    return terms[:, 0] * per_channel[:, None] if terms.shape[1] == 1 else np.tensordot(terms, per_channel, (1, 0))


@cache  # few different arguments, and a quarter of the time of drawing a block
def _seen_taps(kernel: int, stride: int, size: int) -> tuple[Floats, Floats]:
    """The kinds of places on a map: which taps of the kernel see the map there, not its padding, and how often the kind occurs.

    It matters on small maps: of a 7x7 kernel on a 7x7 map only 57 % of the taps see anything.

    Returns:
        Zeros and ones, shape (kinds, kernel * kernel); shares that add up to 1, shape (kinds,).
    """
    places = np.arange(0, size, stride)[:, None] + np.arange(kernel) - kernel // 2
    rows, count = np.unique((places >= 0) & (places < size), axis=0, return_counts=True)
    share = (count / len(places)).astype(np.float32)
    return np.kron(rows, rows).astype(np.float32), np.kron(share, share)


def _activate(values: Floats, activation: Activation) -> Floats:
    match activation:
        case "none":
            return values
        case "relu":
            return np.maximum(values, 0)
        case "relu6":
            return np.clip(values, 0, 6)
        case "hswish":
            return values * np.clip(values + 3, 0, 6) / 6
