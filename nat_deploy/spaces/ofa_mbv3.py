"""The Once-for-all MobileNetV3 spaces: five stages of elastic MBConv blocks.

Elastic are the resolution, the depth of each stage (2, 3, 4), and the kernel (3, 5, 7) and expansion (3, 4, 6) of each block.

Genes, after Neural Architecture Transfer (Lu et al., arXiv 2005.05859): 22 integers, `[resolution, width, 5 x 4 layers]`. A layer gene is 0 for a
skipped layer and otherwise `1 + kernel index + 3 * expand index`; the first two layers of a stage are always there. The width gene has one value in a
space of one width.

Sources: Once-for-all (Cai et al., ICLR 2020); MobileNetV3 (Howard et al., ICCV 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import ArchitectureError
from nat_deploy.spaces.architecture import Architecture
from nat_deploy.spaces.block import (
    Activation,
    Block,
    count_macs,
    count_params,
    count_peak_activation_bytes,
    make_divisible,
)
from nat_deploy.spaces.space import Counts, Genes, Sampling

KERNELS = (3, 5, 7)
EXPANDS = (3, 4, 6)
DEPTHS = (2, 3, 4)
NUM_STAGES = 5
STAGE_LENGTH = 4
NUM_LAYERS = NUM_STAGES * STAGE_LENGTH
FIRST_LAYER_GENE = 2
WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.2)

PHOTOGRAPH_RESOLUTIONS = tuple(range(128, 257, 4))
SMALL_IMAGE_RESOLUTIONS = tuple(range(32, 97, 4))

_STEM_CHANNELS = 16
_STAGE_CHANNELS = (24, 40, 80, 112, 160)
_STAGE_STRIDES = (2, 2, 2, 1, 2)
_STAGE_SQUEEZES = (False, True, False, True, True)
_STAGE_ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu", "hswish", "hswish", "hswish")
_FINAL_EXPAND_CHANNELS = 960
_FEATURE_CHANNELS = 1280


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLayout:
    """What is fixed in one stage: only depth, kernel and expansion are chosen."""

    in_channels: int
    out_channels: int
    stride: int
    squeeze_excite: bool
    activation: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Channels of a network of one width; what a supernet and its blocks are built from."""

    stem_channels: int
    stages: tuple[StageLayout, ...]
    final_expand_channels: int
    feature_channels: int


def make_layout(width: float) -> Layout:
    """Channels at a width multiplier, each rounded to a multiple of 8."""
    channels = [make_divisible(base * width) for base in (_STEM_CHANNELS, *_STAGE_CHANNELS)]
    stages = tuple(
        StageLayout(
            in_channels=channels[stage],
            out_channels=channels[stage + 1],
            stride=_STAGE_STRIDES[stage],
            squeeze_excite=_STAGE_SQUEEZES[stage],
            activation=_STAGE_ACTIVATIONS[stage],
        )
        for stage in range(NUM_STAGES)
    )
    return Layout(
        stem_channels=channels[0],
        stages=stages,
        final_expand_channels=make_divisible(_FINAL_EXPAND_CHANNELS * width),
        feature_channels=make_divisible(_FEATURE_CHANNELS * width),
    )


def se_channels(mid_channels: int) -> int:
    """Width of the squeeze-excite bottleneck."""
    return make_divisible(mid_channels // 4)


@dataclass(frozen=True)
class OfaMobileNetV3Space:
    """`ofa-mbv3-w{width}` for one number of classes and one range of resolutions."""

    width: float = 1.0
    resolutions: tuple[int, ...] = PHOTOGRAPH_RESOLUTIONS
    num_classes: int = 1000

    def __post_init__(self) -> None:
        if self.width not in WIDTHS:
            raise ArchitectureError(f"width must be one of {_listed(WIDTHS)}, but it is {self.width}; choose one of these")
        if self.num_classes < 2:
            raise ArchitectureError(f"num_classes must be at least 2, but it is {self.num_classes}; a classifier needs a choice")
        if not self.resolutions or tuple(sorted(set(self.resolutions))) != self.resolutions or self.resolutions[0] < 32:
            raise ArchitectureError(
                f"resolutions must be rising, different and at least 32, but they are {_listed(self.resolutions)}; "
                "give for example 128-256"
            )

    @property
    def name(self) -> str:
        return f"ofa-mbv3-w{self.width}"

    @cached_property
    def layout(self) -> Layout:
        return make_layout(self.width)

    @cached_property
    def gene_lower(self) -> NDArray[np.int64]:
        return np.array([0, 0] + [1, 1, 0, 0] * NUM_STAGES, dtype=np.int64)

    @cached_property
    def gene_upper(self) -> NDArray[np.int64]:
        return np.array([len(self.resolutions) - 1, 0] + [len(KERNELS) * len(EXPANDS)] * NUM_LAYERS, dtype=np.int64)

    # ---- points -------------------------------------------------------------------------------------------------------------

    def check(self, architecture: Architecture) -> None:
        arch = architecture
        if arch.space != self.name:
            raise ArchitectureError(
                f"space must be '{self.name}', but the architecture is of '{arch.space}'; choose --space {arch.space}"
            )
        _check_choice("resolution", arch.resolution, self.resolutions)
        _check_length("depth", arch.depth, NUM_STAGES, "one per stage")
        for stage, depth in enumerate(arch.depth):
            _check_choice(f"depth[{stage}]", depth, DEPTHS)
        for name, values, choices in (("kernel", arch.kernel, KERNELS), ("expand", arch.expand, EXPANDS)):
            _check_length(name, values, sum(arch.depth), "one per active layer, the sum of depth")
            for layer, value in enumerate(values):
                _check_choice(f"{name}[{layer}]", value, choices)

    def smallest(self) -> Architecture:
        return self._uniform(self.resolutions[0], DEPTHS[0], KERNELS[0], EXPANDS[0])

    def largest(self) -> Architecture:
        return self._uniform(self.resolutions[-1], DEPTHS[-1], KERNELS[-1], EXPANDS[-1])

    def _uniform(self, resolution: int, depth: int, kernel: int, expand: int) -> Architecture:
        layers = NUM_STAGES * depth
        return Architecture(
            space=self.name,
            resolution=resolution,
            depth=(depth,) * NUM_STAGES,
            kernel=(kernel,) * layers,
            expand=(expand,) * layers,
        )

    # ---- genes --------------------------------------------------------------------------------------------------------------

    def encode(self, architecture: Architecture) -> NDArray[np.int64]:
        self.check(architecture)
        genes = np.zeros(FIRST_LAYER_GENE + NUM_LAYERS, dtype=np.int64)
        genes[0] = self.resolutions.index(architecture.resolution)
        for stage, layers in enumerate(architecture.stages()):
            for position, (kernel, expand) in enumerate(layers):
                gene = 1 + KERNELS.index(kernel) + len(KERNELS) * EXPANDS.index(expand)
                genes[FIRST_LAYER_GENE + STAGE_LENGTH * stage + position] = gene
        return genes

    def decode(self, genes: NDArray[np.int64]) -> Architecture:
        canonical = self.repair(np.asarray(genes)[None])[0]
        layers = canonical[FIRST_LAYER_GENE:].reshape(NUM_STAGES, STAGE_LENGTH)
        active = layers[layers > 0] - 1
        return Architecture(
            space=self.name,
            resolution=self.resolutions[canonical[0]],
            depth=tuple(int(depth) for depth in (layers > 0).sum(axis=1)),
            kernel=tuple(KERNELS[gene % len(KERNELS)] for gene in active),
            expand=tuple(EXPANDS[gene // len(KERNELS)] for gene in active),
        )

    def repair(self, genes: Genes) -> Genes:
        """A fourth layer without a third is dropped, as NAT decodes it; values outside the bounds are refused."""
        genes = np.asarray(genes, dtype=np.int64)
        if genes.ndim != 2 or genes.shape[1] != len(self.gene_lower):
            raise ArchitectureError(f"genes must have shape (n, {len(self.gene_lower)}), but have {genes.shape}")
        outside = np.argwhere((genes < self.gene_lower) | (genes > self.gene_upper))
        if len(outside):
            row, column = outside[0]
            raise ArchitectureError(
                f"gene {column} must lie in {self.gene_lower[column]}..{self.gene_upper[column]}, but it is {genes[row, column]}"
            )
        repaired = genes.copy()
        layers = repaired[:, FIRST_LAYER_GENE:].reshape(len(genes), NUM_STAGES, STAGE_LENGTH)
        layers[..., 3][layers[..., 2] == 0] = 0
        return repaired

    def sample(self, rng: np.random.Generator, count: int, *, sampling: Sampling = "balanced-depth") -> Genes:
        """Random architectures.

        "uniform" draws every gene by itself and repairs, as NAT does; four of five stages then get depth 4. "balanced-depth" gives each depth of a stage the
        same chance, the remedy of NATv2 (arXiv 2307.00960) for the same bias.
        """
        genes = rng.integers(self.gene_lower, self.gene_upper + 1, size=(count, len(self.gene_lower)))
        if sampling == "balanced-depth":
            layers = genes[:, FIRST_LAYER_GENE:].reshape(count, NUM_STAGES, STAGE_LENGTH)
            layers[...] = rng.integers(1, self.gene_upper[FIRST_LAYER_GENE] + 1, size=layers.shape)
            depth = rng.integers(DEPTHS[0], DEPTHS[-1] + 1, size=(count, NUM_STAGES))
            layers[np.arange(STAGE_LENGTH) >= depth[..., None]] = 0
        return self.repair(genes)

    # ---- blocks and costs ---------------------------------------------------------------------------------------------------

    def blocks(self, architecture: Architecture) -> tuple[Block, ...]:
        self.check(architecture)
        blocks = list(self._stem(architecture.resolution))
        for stage, layers in enumerate(architecture.stages()):
            for position, (kernel, expand) in enumerate(layers):
                blocks.append(self._layer(stage, position, kernel, expand, blocks[-1].out_size))
        return (*blocks, *self._head(blocks[-1].out_size))

    def _stem(self, resolution: int) -> tuple[Block, Block]:
        channels = self.layout.stem_channels
        conv = Block(
            kind="conv", in_channels=3, out_channels=channels, in_size=resolution, kernel_size=3, stride=2, activation="hswish"
        )
        first = Block(
            kind="mbconv",
            in_channels=channels,
            mid_channels=channels,
            out_channels=channels,
            in_size=conv.out_size,
            kernel_size=3,
            shortcut=True,
            activation="relu",
        )
        return conv, first

    def _layer(self, stage: int, position: int, kernel: int, expand: int, in_size: int) -> Block:
        layout = self.layout.stages[stage]
        first = position == 0
        in_channels = layout.in_channels if first else layout.out_channels
        mid_channels = make_divisible(in_channels * expand)
        return Block(
            kind="mbconv",
            in_channels=in_channels,
            mid_channels=mid_channels,
            out_channels=layout.out_channels,
            in_size=in_size,
            kernel_size=kernel,
            stride=layout.stride if first else 1,
            se_channels=se_channels(mid_channels) if layout.squeeze_excite else 0,
            expanded=True,
            shortcut=not first,
            activation=layout.activation,
        )

    def _head(self, in_size: int) -> tuple[Block, ...]:
        last = self.layout.stages[-1].out_channels
        expanded, features = self.layout.final_expand_channels, self.layout.feature_channels
        return (
            Block(kind="conv", in_channels=last, out_channels=expanded, in_size=in_size, activation="hswish"),
            Block(kind="pool", in_channels=expanded, out_channels=expanded, in_size=in_size),
            Block(kind="linear", in_channels=expanded, out_channels=features, in_size=1, activation="hswish"),
            Block(kind="linear", in_channels=features, out_channels=self.num_classes, in_size=1, bias=True),
        )

    def count(self, genes: Genes) -> Counts:
        """Every layer's cost depends on its own gene and the resolution only, so the costs of `n` networks are look-ups, sums and a maximum."""
        genes = self.repair(genes)
        rows = genes[:, :1]
        picked = self._layer_costs[:, rows, np.arange(NUM_LAYERS)[None], genes[:, FIRST_LAYER_GENE:]]  # (3, n, 20)
        fixed = self._fixed_costs[:, genes[:, 0]]  # (3, n)
        return Counts(
            macs=picked[0].sum(axis=1) + fixed[0],
            num_params=picked[1].sum(axis=1) + fixed[1],
            peak_activation_bytes=np.maximum(picked[2].max(axis=1), fixed[2]),
        )

    @cached_property
    def _layer_costs(self) -> NDArray[np.int64]:
        """(macs, params, peak bytes) of each layer, shape `(3, resolutions, 20, 10)`; gene 0, a skipped layer, costs nothing."""
        costs = np.zeros((3, len(self.resolutions), NUM_LAYERS, 1 + len(KERNELS) * len(EXPANDS)), dtype=np.int64)
        for row, resolution in enumerate(self.resolutions):
            size = self._stem(resolution)[-1].out_size
            for stage in range(NUM_STAGES):
                for position in range(STAGE_LENGTH):
                    for gene in range(1, costs.shape[-1]):
                        kernel, expand = KERNELS[(gene - 1) % len(KERNELS)], EXPANDS[(gene - 1) // len(KERNELS)]
                        block = self._layer(stage, position, kernel, expand, size)
                        costs[:, row, STAGE_LENGTH * stage + position, gene] = _costs(block)
                    size = block.out_size
        return costs

    @cached_property
    def _fixed_costs(self) -> NDArray[np.int64]:
        """(macs, params, peak bytes) of stem and head together, shape `(3, resolutions)`."""
        columns = []
        for resolution in self.resolutions:
            size = self.blocks(self._uniform(resolution, DEPTHS[0], KERNELS[0], EXPANDS[0]))[-5].out_size
            costs = np.array([_costs(block) for block in (*self._stem(resolution), *self._head(size))])
            columns.append([costs[:, 0].sum(), costs[:, 1].sum(), costs[:, 2].max()])
        return np.array(columns, dtype=np.int64).T


def _costs(block: Block) -> tuple[int, int, int]:
    return count_macs(block), count_params(block), count_peak_activation_bytes(block)


def _check_choice(name: str, value: int, choices: Sequence[int]) -> None:
    if isinstance(value, bool) or value not in choices:
        raise ArchitectureError(f"{name} must be one of {_listed(choices)}, but it is {value}; change it to one of these")


def _check_length(name: str, values: Sequence[int], length: int, meaning: str) -> None:
    if len(values) != length:
        raise ArchitectureError(f"{name} must have {length} values ({meaning}), but it has {len(values)}; add or remove values")


def _listed(values: Sequence[float]) -> str:
    """Choices as a person writes them: `3, 5, 7` or `128, 132, ..., 256`."""
    texts = [f"{value:g}" for value in values]
    return ", ".join(texts if len(texts) <= 8 else [*texts[:2], "...", texts[-1]])
