"""The Once-for-all ResNet-50-D space: four stages of bottlenecks, elastic in depth, inner width and outputs.

A depth is that of the stem, whose second convolution may be missing, and then of the four stages. `kernel` and `expand` list, as everywhere, the active
layers; the stem's is a plain 3x3 convolution and has `expand` 1. Of a bottleneck, `expand` is its inner width as a share of its outputs. `width` holds six
shares of channels: inside the stem, after it, and of each stage.

Genes: `[resolution, stem depth, 6 widths, 18 layers]`; a layer gene is 0 for a skipped layer and otherwise `1 + expand index`.

Sources: Once-for-all (Cai et al., ICLR 2020) and its published code's "ResNet50D"; He et al., "Bag of Tricks" (CVPR 2019) for the D.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nat_deploy.spaces.architecture import Architecture
from nat_deploy.spaces.block import Block, make_divisible
from nat_deploy.spaces.block_places import BlockPlaces
from nat_deploy.spaces.choices import check_choice, check_genes, check_length, check_name, check_task
from nat_deploy.spaces.resolutions import PHOTOGRAPH_RESOLUTIONS
from nat_deploy.spaces.space import Counts, Genes, Place, Sampling

EXPANDS = (0.2, 0.25, 0.35)
WIDTHS = (0.65, 0.8, 1.0)
INNER_STEM_WIDTHS = (0.65, 1.0)  # 0.8 would round to the channels of 0.65
WIDTHS_OF_PLACES = (INNER_STEM_WIDTHS, *[WIDTHS] * 5)
STAGE_DEPTHS = ((2, 3, 4), (2, 3, 4), (4, 5, 6), (2, 3, 4))
STAGE_STARTS = (0, 4, 8, 14, 18)
NUM_LAYERS = STAGE_STARTS[-1]

_STEM_CHANNELS = (32, 64)
_STAGE_CHANNELS = (256, 512, 1024, 2048)
_STAGE_STRIDES = (1, 2, 2, 2)
_STEM_GENE = 1
_WIDTH_GENE = 2
_LAYER_GENE = _WIDTH_GENE + len(_STEM_CHANNELS) + len(_STAGE_CHANNELS)


def output_channels(place: int, width: float) -> int:
    """Channels at a place of `Architecture.width`."""
    return make_divisible((*_STEM_CHANNELS, *_STAGE_CHANNELS)[place] * width)


def mid_channels(out_channels: int, expand: float) -> int:
    """Channels inside a bottleneck."""
    return make_divisible(round(out_channels * expand))


@dataclass(frozen=True)
class OfaResNet50Space:
    """`ofa-resnet50` for one number of classes and one range of resolutions."""

    resolutions: tuple[int, ...] = PHOTOGRAPH_RESOLUTIONS
    num_classes: int = 1000

    def __post_init__(self) -> None:
        check_task(self.resolutions, self.num_classes)

    @property
    def name(self) -> str:
        return "ofa-resnet50"

    @cached_property
    def gene_lower(self) -> NDArray[np.int64]:
        lower = np.zeros(_LAYER_GENE + NUM_LAYERS, dtype=np.int64)
        for (start, _), depths in zip(pairwise(STAGE_STARTS), STAGE_DEPTHS, strict=True):
            lower[_LAYER_GENE + start : _LAYER_GENE + start + depths[0]] = 1
        return lower

    @cached_property
    def gene_upper(self) -> NDArray[np.int64]:
        widths = [len(widths) - 1 for widths in WIDTHS_OF_PLACES]
        return np.array([len(self.resolutions) - 1, 1, *widths, *[len(EXPANDS)] * NUM_LAYERS], dtype=np.int64)

    @cached_property
    def places(self) -> tuple[Place, ...]:
        inner, outer, *stages = range(_WIDTH_GENE, _LAYER_GENE)
        stem = [Place(genes=(inner,)), Place(genes=(_STEM_GENE, inner), is_elastic=True), Place(genes=(inner, outer))]
        layers = []
        for (before, width), (start, end) in zip(pairwise([outer, *stages]), pairwise(STAGE_STARTS), strict=True):
            layers += [
                Place(
                    genes=(_LAYER_GENE + layer, width) if layer > start else (_LAYER_GENE + layer, before, width), is_elastic=True
                )
                for layer in range(start, end)
            ]
        last = Place(genes=(stages[-1],))
        return (*stem, Place(genes=(outer,)), *layers, last, last)

    # ---- points -------------------------------------------------------------------------------------------------------------

    def check(self, architecture: Architecture) -> None:
        arch = architecture
        check_name(arch, self.name)
        check_choice("resolution", arch.resolution, self.resolutions)
        choices = ((0, 1), *STAGE_DEPTHS)
        check_length("depth", arch.depth, len(choices), "stem and one per stage")
        for stage, (depth, depths) in enumerate(zip(arch.depth, choices, strict=True)):
            check_choice(f"depth[{stage}]", depth, depths)
        for name, values in (("kernel", arch.kernel), ("expand", arch.expand)):
            check_length(name, values, sum(arch.depth), "one per active layer, the sum of depth")
        for layer, (kernel, expand) in enumerate(zip(arch.kernel, arch.expand, strict=True)):
            check_choice(f"kernel[{layer}]", kernel, (3,))
            check_choice(f"expand[{layer}]", expand, (1,) if layer < arch.depth[0] else EXPANDS)
        check_length("width", arch.width, len(WIDTHS_OF_PLACES), "inside the stem, after it, and one per stage")
        for place, (width, widths) in enumerate(zip(arch.width, WIDTHS_OF_PLACES, strict=True)):
            check_choice(f"width[{place}]", width, widths)

    def smallest(self) -> Architecture:
        return self.decode(self.gene_lower)

    def largest(self) -> Architecture:
        return self.decode(self.gene_upper)

    # ---- genes --------------------------------------------------------------------------------------------------------------

    def encode(self, architecture: Architecture) -> NDArray[np.int64]:
        self.check(architecture)
        genes = np.zeros(len(self.gene_lower), dtype=np.int64)
        genes[0] = self.resolutions.index(architecture.resolution)
        genes[_STEM_GENE] = architecture.depth[0]
        genes[_WIDTH_GENE:_LAYER_GENE] = [
            widths.index(width) for width, widths in zip(architecture.width, WIDTHS_OF_PLACES, strict=True)
        ]
        for start, layers in zip(STAGE_STARTS, architecture.stages()[1:], strict=False):
            for position, (_, expand) in enumerate(layers):
                genes[_LAYER_GENE + start + position] = 1 + EXPANDS.index(expand)
        return genes

    def decode(self, genes: NDArray[np.int64]) -> Architecture:
        canonical = self.repair(np.asarray(genes)[None])[0]
        layers = canonical[_LAYER_GENE:]
        stem = int(canonical[_STEM_GENE])
        expand = (*[1.0] * stem, *(EXPANDS[gene - 1] for gene in layers[layers > 0]))
        return Architecture(
            space=self.name,
            resolution=self.resolutions[canonical[0]],
            depth=(stem, *(int((layers[start:end] > 0).sum()) for start, end in pairwise(STAGE_STARTS))),
            kernel=(3,) * len(expand),
            expand=expand,
            width=tuple(widths[gene] for gene, widths in zip(canonical[_WIDTH_GENE:_LAYER_GENE], WIDTHS_OF_PLACES, strict=True)),
        )

    def repair(self, genes: Genes) -> Genes:
        """A layer after a skipped one of its stage is dropped."""
        repaired = check_genes(genes, self.gene_lower, self.gene_upper).copy()
        for start, end in pairwise(STAGE_STARTS):
            layers = repaired[:, _LAYER_GENE + start : _LAYER_GENE + end]
            layers[np.logical_or.accumulate(layers == 0, axis=1)] = 0
        return repaired

    def sample(self, rng: np.random.Generator, count: int, *, sampling: Sampling = "balanced-depth") -> Genes:
        """Random architectures; "uniform" and "balanced-depth" as in the MobileNetV3 spaces."""
        genes = rng.integers(self.gene_lower, self.gene_upper + 1, size=(count, len(self.gene_lower)))
        if sampling == "balanced-depth":
            layers = genes[:, _LAYER_GENE:]
            layers[...] = rng.integers(1, len(EXPANDS) + 1, size=layers.shape)
            for (start, end), depths in zip(pairwise(STAGE_STARTS), STAGE_DEPTHS, strict=True):
                depth = rng.integers(depths[0], depths[-1] + 1, size=(count, 1))
                layers[:, start:end][np.arange(end - start) >= depth] = 0
        return self.repair(genes)

    # ---- blocks and costs ---------------------------------------------------------------------------------------------------

    def blocks(self, architecture: Architecture) -> tuple[Block, ...]:
        self.check(architecture)
        inner, outer, *widths = (output_channels(place, width) for place, width in enumerate(architecture.width))
        stem_layers, *stages = architecture.stages()
        blocks = [_conv(3, inner, architecture.resolution, stride=2)]
        blocks += [_conv(inner, inner, blocks[0].out_size, shortcut=True) for _ in stem_layers]
        blocks.append(_conv(inner, outer, blocks[0].out_size))
        blocks.append(
            Block(kind="maxpool", in_channels=outer, out_channels=outer, in_size=blocks[-1].out_size, kernel_size=3, stride=2)
        )
        for out_channels, stride, layers in zip(widths, _STAGE_STRIDES, stages, strict=True):
            for position, (kernel, expand) in enumerate(layers):
                blocks.append(
                    Block(
                        kind="bottleneck",
                        in_channels=blocks[-1].out_channels,
                        mid_channels=mid_channels(out_channels, expand),
                        out_channels=out_channels,
                        in_size=blocks[-1].out_size,
                        kernel_size=kernel,
                        stride=1 if position else stride,
                        shortcut=position > 0,
                        activation="relu",
                    )
                )
        last = blocks[-1]
        pool = Block(kind="pool", in_channels=last.out_channels, out_channels=last.out_channels, in_size=last.out_size)
        classifier = Block(kind="linear", in_channels=last.out_channels, out_channels=self.num_classes, in_size=1, bias=True)
        return (*blocks, pool, classifier)

    def count(self, genes: Genes) -> Counts:
        return self._block_places.count(self.repair(genes))

    @cached_property
    def _block_places(self) -> BlockPlaces:
        return BlockPlaces(self)


def _conv(in_channels: int, out_channels: int, in_size: int, *, stride: int = 1, shortcut: bool = False) -> Block:
    return Block(
        kind="conv",
        in_channels=in_channels,
        out_channels=out_channels,
        in_size=in_size,
        kernel_size=3,
        stride=stride,
        shortcut=shortcut,
        activation="relu",
    )
