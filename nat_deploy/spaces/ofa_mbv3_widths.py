"""Several widths of the Once-for-all MobileNetV3 space searched as one, as Neural Architecture Transfer does with 1.0 and 1.2.

Points, genes and blocks are those of the spaces of one width; the width gene, which is fixed there, says which of them. An architecture names its width in
`Architecture.width`.

Source: Neural Architecture Transfer (Lu et al., arXiv 2005.05859).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import ArchitectureError
from nat_deploy.spaces.architecture import Architecture
from nat_deploy.spaces.block import Block
from nat_deploy.spaces.block_places import BlockPlaces
from nat_deploy.spaces.choices import check_choice, check_genes, check_length, check_name, listed
from nat_deploy.spaces.ofa_mbv3 import OfaMobileNetV3Space
from nat_deploy.spaces.resolutions import PHOTOGRAPH_RESOLUTIONS
from nat_deploy.spaces.space import Counts, Genes, Place, Sampling

WIDTH_GENE = 1


@dataclass(frozen=True)
class OfaMobileNetV3WidthsSpace:
    """`ofa-mbv3-w{width}+w{width}` for one number of classes and one range of resolutions."""

    widths: tuple[float, ...] = (1.0, 1.2)
    resolutions: tuple[int, ...] = PHOTOGRAPH_RESOLUTIONS
    num_classes: int = 1000

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or tuple(sorted(set(self.widths))) != self.widths:
            raise ArchitectureError(
                f"widths must be at least two, rising and different, but they are {listed(self.widths)}; give for example 1.0 and 1.2"
            )
        _ = self.members  # these check the values

    @property
    def name(self) -> str:
        return f"ofa-mbv3-{'+'.join(f'w{width}' for width in self.widths)}"

    @cached_property
    def members(self) -> tuple[OfaMobileNetV3Space, ...]:
        """The space of each width; their gene strings differ from ours in the width gene alone, which is 0."""
        return tuple(OfaMobileNetV3Space(width, self.resolutions, self.num_classes) for width in self.widths)

    @property
    def gene_lower(self) -> NDArray[np.int64]:
        return self.members[0].gene_lower

    @cached_property
    def gene_upper(self) -> NDArray[np.int64]:
        upper = self.members[0].gene_upper.copy()
        upper[WIDTH_GENE] = len(self.widths) - 1
        return upper

    @cached_property
    def places(self) -> tuple[Place, ...]:
        return tuple(replace(place, genes=(*place.genes, WIDTH_GENE)) for place in self.members[0].places)

    # ---- points -------------------------------------------------------------------------------------------------------------

    def check(self, architecture: Architecture) -> None:
        number, inside = self.place_of(architecture)
        self.members[number].check(inside)

    def place_of(self, architecture: Architecture) -> tuple[int, Architecture]:
        """Which of `members` the architecture belongs to, and what it is called there.

        Raises:
            ArchitectureError: The architecture is of another space or width.
        """
        check_name(architecture, self.name)
        check_length("width", architecture.width, 1, "of the whole network")
        check_choice("width[0]", architecture.width[0], self.widths)
        number = self.widths.index(architecture.width[0])
        return number, replace(architecture, space=self.members[number].name, width=())

    def smallest(self) -> Architecture:
        return self._from_member(0, self.members[0].smallest())

    def largest(self) -> Architecture:
        return self._from_member(-1, self.members[-1].largest())

    def _from_member(self, number: int, architecture: Architecture) -> Architecture:
        return replace(architecture, space=self.name, width=(self.widths[number],))

    # ---- genes --------------------------------------------------------------------------------------------------------------

    def encode(self, architecture: Architecture) -> NDArray[np.int64]:
        number, inside = self.place_of(architecture)
        genes = self.members[number].encode(inside)
        genes[WIDTH_GENE] = number
        return genes

    def decode(self, genes: NDArray[np.int64]) -> Architecture:
        canonical = self.repair(np.asarray(genes)[None])
        number = int(canonical[0, WIDTH_GENE])
        return self._from_member(number, self.members[number].decode(self.genes_inside(canonical)[0]))

    def genes_inside(self, genes: Genes) -> Genes:
        """The same strings as those of `members`."""
        inside = genes.copy()
        inside[:, WIDTH_GENE] = 0
        return inside

    def repair(self, genes: Genes) -> Genes:
        """As each width does; values outside the bounds are refused."""
        genes = check_genes(genes, self.gene_lower, self.gene_upper)
        repaired = self.members[0].repair(self.genes_inside(genes))
        repaired[:, WIDTH_GENE] = genes[:, WIDTH_GENE]
        return repaired

    def sample(self, rng: np.random.Generator, count: int, *, sampling: Sampling = "balanced-depth") -> Genes:
        """Random architectures as in the space of one width; each width has the same chance."""
        genes = self.members[0].sample(rng, count, sampling=sampling)
        genes[:, WIDTH_GENE] = rng.integers(len(self.widths), size=count)
        return genes

    # ---- blocks and costs ---------------------------------------------------------------------------------------------------

    def blocks(self, architecture: Architecture) -> tuple[Block, ...]:
        number, inside = self.place_of(architecture)
        return self.members[number].blocks(inside)

    def count(self, genes: Genes) -> Counts:
        return self._block_places.count(self.repair(genes))

    @cached_property
    def _block_places(self) -> BlockPlaces:
        return BlockPlaces(self)
