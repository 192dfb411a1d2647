"""A block: the repeated unit of a network, and the key of a latency table.

A block knows everything that its latency depends on and nothing else: two blocks that compare equal are the same computation, wherever they stand in a
network. Its costs are counted here from its numbers, without torch.

Conventions: one multiply-add is one MAC; only convolutions and linear layers count (as in the papers this tool compares with); activations are
counted as float32 of one image.
"""

from dataclasses import dataclass, field
from typing import Literal

Activation = Literal["none", "relu", "relu6", "hswish"]
BlockKind = Literal["conv", "mbconv", "bottleneck", "maxpool", "pool", "linear"]

BYTES_PER_VALUE = 4
BATCH_NORM_EPS = 1e-5


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a channel count to a multiple of `divisor`, never losing more than a tenth.

    Source: the rounding rule of MobileNetV2/V3, as Once-for-all uses it.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block with all its shapes; what a field does not apply to is zero.

    kind            "conv":   convolution, batch norm, activation, [shortcut]
                    "mbconv": [expansion 1x1], depthwise kxk, [squeeze-excite], projection 1x1, [shortcut]
                    "bottleneck":
                              1x1, kxk, 1x1, each with batch norm, and beside them a shortcut, or without one an average pooling of the
                              stride, 1x1 and batch norm (ResNet-D); the activation after each, and after the sum instead of the last
                    "maxpool": largest value of kxk
                    "pool":   global average over height and width
                    "linear": fully connected layer on a vector, with or without bias and activation
    in_size         height and width of the input map, in pixels
    mid_channels    channels of the convolution in the middle of an mbconv or bottleneck; of an mbconv without an expansion `in_channels`
    se_channels     width of the squeeze-excite bottleneck, 0 without one
    expanded        whether an mbconv has its 1x1 expansion
    batch_norm_eps  what is added to each variance; blocks that differ in it alone take the same time and compare equal
    """

    kind: BlockKind
    in_channels: int
    out_channels: int
    in_size: int
    kernel_size: int = 1
    stride: int = 1
    mid_channels: int = 0
    se_channels: int = 0
    expanded: bool = False
    shortcut: bool = False
    bias: bool = False
    activation: Activation = "none"
    batch_norm_eps: float = field(default=BATCH_NORM_EPS, compare=False)

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "in_size", "kernel_size", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of a block must be at least 1, but it is {getattr(self, name)}")
        if self.kind in ("mbconv", "bottleneck") and self.mid_channels < 1:
            raise ValueError(f"mid_channels of a block '{self.kind}' must be at least 1, but it is 0")
        if self.shortcut and (self.stride != 1 or self.in_channels != self.out_channels):
            raise ValueError("a shortcut needs stride 1 and equal channels at both ends of the block")

    @property
    def out_size(self) -> int:
        """Height and width of the output map, in pixels (padding is kernel_size // 2)."""
        return 1 if self.kind in ("pool", "linear") else (self.in_size - 1) // self.stride + 1

    @property
    def key(self) -> str:
        """Readable name, unique among blocks: the key of a latency table.

        Example: `mbconv(40->80, mid 240, k5, s2, 28x28, se 64, hswish)`.
        """
        parts = [f"{self.in_channels}->{self.out_channels}"]
        if self.kind == "mbconv":
            parts.append(f"mid {self.mid_channels}" if self.expanded else "no expansion")
        if self.kind == "bottleneck":
            parts.append(f"mid {self.mid_channels}")
        if self.kind in ("conv", "mbconv", "bottleneck", "maxpool"):
            parts += [f"k{self.kernel_size}", f"s{self.stride}"]
        if self.kind != "linear":
            parts.append(f"{self.in_size}x{self.in_size}")
        if self.se_channels:
            parts.append(f"se {self.se_channels}")
        if self.shortcut:
            parts.append("shortcut")
        if self.bias:
            parts.append("bias")
        if self.activation != "none":
            parts.append(self.activation)
        return f"{self.kind}({', '.join(parts)})"


def count_macs(block: Block) -> int:
    """Multiply-adds of one image through the block's convolutions and linear layers."""
    out_area = block.out_size**2
    match block.kind:
        case "conv":
            return block.kernel_size**2 * block.in_channels * block.out_channels * out_area
        case "linear":
            return block.in_channels * block.out_channels
        case "pool" | "maxpool":
            return 0
        case "bottleneck":
            mid = block.mid_channels
            downsample = 0 if block.shortcut else block.in_channels * block.out_channels * out_area
            entering = block.in_channels * mid * block.in_size**2
            return entering + (block.kernel_size**2 * mid * mid + mid * block.out_channels) * out_area + downsample
        case "mbconv":
            mid = block.mid_channels
            expansion = block.in_channels * mid * block.in_size**2 if block.expanded else 0
            depthwise = block.kernel_size**2 * mid * out_area
            squeeze_excite = 2 * mid * block.se_channels
            return expansion + depthwise + squeeze_excite + mid * block.out_channels * out_area


def count_params(block: Block) -> int:
    """Trainable parameters: weights, biases, and two per batch-norm channel."""
    match block.kind:
        case "conv":
            return block.kernel_size**2 * block.in_channels * block.out_channels + 2 * block.out_channels
        case "linear":
            return block.in_channels * block.out_channels + (block.out_channels if block.bias else 0)
        case "pool" | "maxpool":
            return 0
        case "bottleneck":
            mid, out = block.mid_channels, block.out_channels
            downsample = 0 if block.shortcut else block.in_channels * out + 2 * out
            return block.in_channels * mid + block.kernel_size**2 * mid * mid + mid * out + 4 * mid + 2 * out + downsample
        case "mbconv":
            mid = block.mid_channels
            expansion = block.in_channels * mid + 2 * mid if block.expanded else 0
            depthwise = block.kernel_size**2 * mid + 2 * mid
            squeeze_excite = 2 * mid * block.se_channels + block.se_channels + mid if block.se_channels else 0
            return expansion + depthwise + squeeze_excite + mid * block.out_channels + 2 * block.out_channels


def count_peak_activation_bytes(block: Block) -> int:
    """Most bytes of activations alive at once inside the block, one image, float32.

    Alive during an operation are its input, its output, and the block's input while a shortcut still waits for it. Batch norm and activation work in place.
    """
    values_in = block.in_channels * block.in_size**2
    values_out = block.out_channels * block.out_size**2
    mid_before = block.mid_channels * block.in_size**2
    mid_after = block.mid_channels * block.out_size**2
    if block.kind == "bottleneck":  # its input waits for the shortcut or for what stands in its place
        pooled = block.in_channels * block.out_size**2
        joining = values_out + values_in if block.shortcut else values_out + pooled + max(values_in, values_out)
        return BYTES_PER_VALUE * max(
            values_in + mid_before, values_in + mid_before + mid_after, values_in + mid_after + values_out, joining
        )
    if block.kind != "mbconv":
        return BYTES_PER_VALUE * (values_in + values_out)
    waiting = values_in if block.shortcut else 0
    moments = [waiting + mid_before + mid_after, waiting + mid_after + values_out]
    if block.expanded:
        moments.append(values_in + mid_before)
    else:
        moments[0] = values_in + mid_after  # the depthwise convolution reads the block's input itself
    return BYTES_PER_VALUE * max(moments)
