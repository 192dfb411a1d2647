"""Spaces of networks whose stages are chains of elastic MBConv blocks: what Once-for-all's MobileNetV3 and ProxylessNAS have in common.

Elastic are the resolution, the depth of each stage, and the kernel (3, 5, 7) and expansion (3, 4, 6) of each block.

Genes, after Neural Architecture Transfer (Lu et al., arXiv 2005.05859): `[resolution, width, one per layer]`. A layer gene is 0 for a skipped layer and
otherwise `1 + kernel index + 3 * expand index`; the layers of a stage's smallest depth are always there. The width gene has one value in a space of one
width.

Source: Once-for-all (Cai et al., ICLR 2020).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nat_deploy.spaces.architecture import Architecture
from nat_deploy.spaces.block import (
    BATCH_NORM_EPS,
    Activation,
    Block,
    make_divisible,
)
from nat_deploy.spaces.block_places import BlockPlaces
from nat_deploy.spaces.choices import check_choice, check_genes, check_length, check_name
from nat_deploy.spaces.space import Counts, Genes, Place, Sampling

KERNELS = (3, 5, 7)
EXPANDS = (3, 4, 6)
FIRST_LAYER_GENE = 2
NUM_LAYER_GENES = 1 + len(KERNELS) * len(EXPANDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLayout:
    """What is fixed in one stage: only depth, kernel and expansion are chosen."""

    in_channels: int
    out_channels: int
    stride: int
    depths: tuple[int, ...]
    squeeze_excite: bool
    activation: Activation

    @property
    def length(self) -> int:
        """Layers that the stage has at most."""
        return self.depths[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is fixed in a network of one width; a supernet and its blocks are built from it.

    first_channels    outputs of the first MBConv, which has no expansion
    activation        of stem and head
    feature_channels  of the layer between pooling and classifier, 0 without one
    """

    stem_channels: int
    first_channels: int
    first_activation: Activation
    stages: tuple[StageLayout, ...]
    final_expand_channels: int
    feature_channels: int
    activation: Activation
    batch_norm_eps: float = BATCH_NORM_EPS


def se_channels(mid_channels: int) -> int:
    """Width of the squeeze-excite bottleneck."""
    return make_divisible(mid_channels // 4)


class MBConvSpace(ABC):
    """What follows from a layout; a space says its name and its layout."""

    resolutions: tuple[int, ...]
    num_classes: int

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def layout(self) -> Layout: ...

    @cached_property
    def stage_starts(self) -> tuple[int, ...]:
        """Place of each stage's first layer among all layers, and after the last stage the number of layers."""
        lengths = [stage.length for stage in self.layout.stages]
        return tuple(sum(lengths[:stage]) for stage in range(len(lengths) + 1))

    @property
    def num_layers(self) -> int:
        return self.stage_starts[-1]

    @cached_property
    def gene_lower(self) -> NDArray[np.int64]:
        always = [int(place < stage.depths[0]) for stage in self.layout.stages for place in range(stage.length)]
        return np.array([0, 0, *always], dtype=np.int64)

    @cached_property
    def gene_upper(self) -> NDArray[np.int64]:
        return np.array([len(self.resolutions) - 1, 0] + [NUM_LAYER_GENES - 1] * self.num_layers, dtype=np.int64)

    # ---- points -------------------------------------------------------------------------------------------------------------

    def check(self, architecture: Architecture) -> None:
        arch = architecture
        check_name(arch, self.name)
        check_choice("resolution", arch.resolution, self.resolutions)
        check_length("depth", arch.depth, len(self.layout.stages), "one per stage")
        for stage, depth in enumerate(arch.depth):
            check_choice(f"depth[{stage}]", depth, self.layout.stages[stage].depths)
        for name, values, choices in (("kernel", arch.kernel, KERNELS), ("expand", arch.expand, EXPANDS)):
            check_length(name, values, sum(arch.depth), "one per active layer, the sum of depth")
            for layer, value in enumerate(values):
                check_choice(f"{name}[{layer}]", value, choices)

    def smallest(self) -> Architecture:
        return self._uniform(self.resolutions[0], 0, KERNELS[0], EXPANDS[0])

    def largest(self) -> Architecture:
        return self._uniform(self.resolutions[-1], -1, KERNELS[-1], EXPANDS[-1])

    def _uniform(self, resolution: int, depth_index: int, kernel: int, expand: int) -> Architecture:
        depth = tuple(stage.depths[depth_index] for stage in self.layout.stages)
        return Architecture(
            space=self.name, resolution=resolution, depth=depth, kernel=(kernel,) * sum(depth), expand=(expand,) * sum(depth)
        )

    # ---- genes --------------------------------------------------------------------------------------------------------------

    def encode(self, architecture: Architecture) -> NDArray[np.int64]:
        self.check(architecture)
        genes = np.zeros(len(self.gene_lower), dtype=np.int64)
        genes[0] = self.resolutions.index(architecture.resolution)
        for start, layers in zip(self.stage_starts, architecture.stages(), strict=False):
            for position, (kernel, expand) in enumerate(layers):
                gene = 1 + KERNELS.index(int(kernel)) + len(KERNELS) * EXPANDS.index(int(expand))
                genes[FIRST_LAYER_GENE + start + position] = gene
        return genes

    def decode(self, genes: NDArray[np.int64]) -> Architecture:
        canonical = self.repair(np.asarray(genes)[None])[0]
        layers = canonical[FIRST_LAYER_GENE:]
        active = layers[layers > 0] - 1
        return Architecture(
            space=self.name,
            resolution=self.resolutions[canonical[0]],
            depth=tuple(int((layers[start:end] > 0).sum()) for start, end in pairwise(self.stage_starts)),
            kernel=tuple(KERNELS[gene % len(KERNELS)] for gene in active),
            expand=tuple(EXPANDS[gene // len(KERNELS)] for gene in active),
        )

    def repair(self, genes: Genes) -> Genes:
        """A layer after a skipped one of its stage is dropped, as NAT decodes it; values outside the bounds are refused."""
        repaired = check_genes(genes, self.gene_lower, self.gene_upper).copy()
        for start, end in pairwise(self.stage_starts):
            layers = repaired[:, FIRST_LAYER_GENE + start : FIRST_LAYER_GENE + end]
            layers[np.logical_or.accumulate(layers == 0, axis=1)] = 0
        return repaired

    def sample(self, rng: np.random.Generator, count: int, *, sampling: Sampling = "balanced-depth") -> Genes:
        """Random architectures.

        "uniform" draws every gene by itself and repairs, as NAT does; four of five stages then get depth 4. "balanced-depth" gives each depth of a stage the
        same chance, the remedy of NATv2 (arXiv 2307.00960) for the same bias.
        """
        genes = rng.integers(self.gene_lower, self.gene_upper + 1, size=(count, len(self.gene_lower)))
        if sampling == "balanced-depth":
            layers = genes[:, FIRST_LAYER_GENE:]
            layers[...] = rng.integers(1, NUM_LAYER_GENES, size=layers.shape)
            choices = [stage.depths for stage in self.layout.stages]
            depth = rng.integers(
                [depths[0] for depths in choices], [depths[-1] + 1 for depths in choices], size=(count, len(choices))
            )
            for stage, (start, end) in enumerate(pairwise(self.stage_starts)):
                layers[:, start:end][np.arange(end - start) >= depth[:, stage, None]] = 0
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
            kind="conv",
            in_channels=3,
            out_channels=channels,
            in_size=resolution,
            kernel_size=3,
            stride=2,
            activation=self.layout.activation,
            batch_norm_eps=self.layout.batch_norm_eps,
        )
        first = Block(
            kind="mbconv",
            in_channels=channels,
            mid_channels=channels,
            out_channels=self.layout.first_channels,
            in_size=conv.out_size,
            kernel_size=3,
            shortcut=self.layout.first_channels == channels,
            activation=self.layout.first_activation,
            batch_norm_eps=self.layout.batch_norm_eps,
        )
        return conv, first

    def _layer(self, stage: int, position: int, kernel: int, expand: float, in_size: int) -> Block:
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
            batch_norm_eps=self.layout.batch_norm_eps,
        )

    def _head(self, in_size: int) -> tuple[Block, ...]:
        layout = self.layout
        expanded, features = layout.final_expand_channels, layout.feature_channels
        conv = Block(
            kind="conv",
            in_channels=layout.stages[-1].out_channels,
            out_channels=expanded,
            in_size=in_size,
            activation=layout.activation,
            batch_norm_eps=layout.batch_norm_eps,
        )
        mix = Block(kind="linear", in_channels=expanded, out_channels=max(features, 1), in_size=1, activation=layout.activation)
        return (
            conv,
            Block(kind="pool", in_channels=expanded, out_channels=expanded, in_size=in_size),
            *([mix] if features else []),
            Block(kind="linear", in_channels=features or expanded, out_channels=self.num_classes, in_size=1, bias=True),
        )

    @cached_property
    def places(self) -> tuple[Place, ...]:
        layers = [Place(genes=(FIRST_LAYER_GENE + layer,), is_elastic=True) for layer in range(self.num_layers)]
        return (Place(), Place(), *layers, *[Place()] * (4 if self.layout.feature_channels else 3))

    def count(self, genes: Genes) -> Counts:
        return self._block_places.count(self.repair(genes))

    @cached_property
    def _block_places(self) -> BlockPlaces:
        return BlockPlaces(self)
