"""Which block stands at which place of a network, as tables by genes: what makes counting many architectures a few look-ups."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nat_deploy.spaces.architecture import Architecture
from nat_deploy.spaces.block import Block, count_macs, count_params, count_peak_activation_bytes
from nat_deploy.spaces.space import Counts, Genes, Place


class PlacedSpace(Protocol):
    """What of a search space tells its places."""

    @property
    def name(self) -> str: ...
    @property
    def gene_lower(self) -> NDArray[np.int64]: ...
    @property
    def gene_upper(self) -> NDArray[np.int64]: ...
    @property
    def places(self) -> tuple[Place, ...]: ...
    def decode(self, genes: NDArray[np.int64]) -> Architecture: ...
    def blocks(self, architecture: Architecture) -> tuple[Block, ...]: ...


@dataclass(frozen=True)
class BlockPlaces:
    """The distinct blocks of a space, and where they stand.

    A cell is one place together with one resolution and one choice of the place's genes; every cell holds one block, or none where its layer is skipped.
    """

    space: PlacedSpace

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Every block that some architecture contains, shape `(num_blocks,)`."""
        return self._found[0]

    @property
    def block_of_cell(self) -> NDArray[np.int64]:
        """Number of the block of each cell, shape `(num_cells,)`; `num_blocks` where a layer is skipped."""
        return self._found[1]

    @cached_property
    def resolution_of_cell(self) -> NDArray[np.int64]:
        """Number of the resolution of each cell, shape `(num_cells,)`."""
        sizes = [int(np.prod(shape[1:])) for shape in self._shapes]
        return np.concatenate([np.repeat(np.arange(self._shapes[0][0]), size) for size in sizes])

    def cells(self, genes: Genes) -> NDArray[np.int64]:
        """The cell of each place of `n` canonical gene strings, shape `(n, num_places)`."""
        offsets, strides = self._layout
        return np.asarray(offsets + (genes - self.space.gene_lower) @ strides)

    def count(self, genes: Genes) -> Counts:
        """Costs of `n` canonical gene strings: sums and a maximum over their cells."""
        picked = self._costs[:, self.cells(genes)]
        return Counts(macs=picked[0].sum(axis=1), num_params=picked[1].sum(axis=1), peak_activation_bytes=picked[2].max(axis=1))

    @cached_property
    def _costs(self) -> NDArray[np.int64]:
        """(MACs, parameters, peak bytes) of each cell, shape `(3, num_cells)`; a skipped layer costs nothing."""
        costs = [(count_macs(block), count_params(block), count_peak_activation_bytes(block)) for block in self.blocks]
        return np.array([*costs, (0, 0, 0)], dtype=np.int64)[self.block_of_cell].T

    @cached_property
    def _shapes(self) -> list[tuple[int, ...]]:
        """Choices of each place: resolutions first, then its genes."""
        spans = self.space.gene_upper - self.space.gene_lower + 1
        return [tuple(int(spans[gene]) for gene in (0, *place.genes)) for place in self.space.places]

    @cached_property
    def _layout(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First cell of each place, shape `(num_places,)`; what one more of a gene moves the cell by, `(num_genes, num_places)`."""
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        strides = np.zeros((len(self.space.gene_lower), len(sizes)), dtype=np.int64)
        for column, (place, shape) in enumerate(zip(self.space.places, self._shapes, strict=True)):
            for axis, gene in enumerate((0, *place.genes)):
                strides[gene, column] = np.prod(shape[axis + 1 :], dtype=np.int64)
        return np.cumsum([0, *sizes[:-1]]), strides

    @cached_property
    def _found(self) -> tuple[tuple[Block, ...], NDArray[np.int64]]:
        """The blocks, and the number of each cell's block: seen in as few networks, all of the greatest depth, as show every block at its place."""
        numbers: dict[Block, int] = {}
        cells, seen = [], []
        for genes in _covering(self.space):
            for resolution in range(int(self.space.gene_upper[0]) + 1):
                genes[0] = resolution
                blocks = self.space.blocks(self.space.decode(genes))
                if len(blocks) != len(self.space.places):
                    raise ValueError(
                        f"space '{self.space.name}' must have a place for each of the {len(blocks)} blocks of its deepest networks"
                    )
                cells.append(self.cells(genes[None])[0])
                seen.append([numbers.setdefault(block, len(numbers)) for block in blocks])
        block_of_cell = np.full(len(self.resolution_of_cell), len(numbers), dtype=np.int64)
        block_of_cell[np.concatenate(cells)] = np.concatenate(seen)
        return tuple(numbers), block_of_cell


def _covering(space: PlacedSpace) -> list[NDArray[np.int64]]:
    """Gene strings in which every place shows every choice of its genes at least once, no layer skipped."""
    lowest = space.gene_lower.copy()
    for place in space.places:
        if place.is_elastic:
            lowest[place.genes[0]] = max(1, lowest[place.genes[0]])
    missing = [_choices(place.genes, lowest, space.gene_upper) for place in space.places]
    strings: list[NDArray[np.int64]] = []
    while any(missing):
        chosen: dict[int, int] = {}
        for number in sorted(range(len(missing)), key=lambda number: -len(missing[number])):
            place = space.places[number]
            fitting = (
                choice
                for choice in missing[number]
                if all(chosen.get(g, v) == v for g, v in zip(place.genes, choice, strict=True))
            )
            chosen.update(zip(place.genes, next(fitting, ()), strict=False))
        genes = space.gene_upper.copy()
        genes[list(chosen)] = list(chosen.values())
        strings.append(genes)
        for place, left in zip(space.places, missing, strict=True):
            left.pop(tuple(int(genes[gene]) for gene in place.genes), None)
    return strings


def _choices(genes: Sequence[int], lowest: NDArray[np.int64], highest: NDArray[np.int64]) -> dict[tuple[int, ...], None]:
    """Every choice of the genes, in order (a dictionary, because a set has none)."""
    return dict.fromkeys(product(*(range(int(lowest[gene]), int(highest[gene]) + 1) for gene in genes)))
