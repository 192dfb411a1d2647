"""Which architectures the supernet is adapted on: ones like those of the archive."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nat_deploy.spaces import Genes, SearchSpace

Adaptation = Literal["members", "marginals"]


class ArchitectureDistribution(Protocol):
    """Something to draw architectures from."""

    def sample(self, rng: np.random.Generator, count: int) -> Genes:
        """Canonical gene strings, shape `(count, num_genes)`; duplicates are possible."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveMarginals:
    """Each gene drawn by itself, as often as the archive has it: NAT's distribution. Breaks the links between depth, kernel and resolution."""

    space: SearchSpace
    genes: Genes

    def sample(self, rng: np.random.Generator, count: int) -> Genes:
        rows = rng.integers(len(self.genes), size=(count, self.genes.shape[1]))
        return self.space.repair(np.take_along_axis(self.genes, rows, axis=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class MutatedMembers:
    """An archive member with each gene redrawn with a small probability: keeps the links between genes."""

    space: SearchSpace
    genes: Genes
    probability: float = 0.1

    def sample(self, rng: np.random.Generator, count: int) -> Genes:
        members = self.genes[rng.integers(len(self.genes), size=count)]
        return self.space.repair(mutate(self.space, members, self.probability, rng))


def make_distribution(name: Adaptation, space: SearchSpace, genes: Genes) -> ArchitectureDistribution:
    match name:
        case "members":
            return MutatedMembers(space=space, genes=genes)
        case "marginals":
            return ArchiveMarginals(space=space, genes=genes)


def mutate(space: SearchSpace, genes: Genes, probability: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Redraw each gene with `probability` among all its values; not yet in canonical form.

    Layer genes are codes without an order, so a step to a "near" value, as polynomial mutation makes, has no meaning here.
    """
    drawn = rng.integers(space.gene_lower, space.gene_upper + 1, size=genes.shape)
    return np.where(rng.random(genes.shape) < probability, drawn, genes)
