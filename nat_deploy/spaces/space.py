"""What every search space can do."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nat_deploy.spaces.architecture import Architecture
from nat_deploy.spaces.block import Block

Genes = NDArray[np.int64]
"""Architectures as integers, shape `(n, num_genes)`: what evolution varies and predictors read."""

Sampling = Literal["uniform", "balanced-depth"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Costs of `n` architectures that need no device; each an int64 array of shape `(n,)`."""

    macs: NDArray[np.int64]
    num_params: NDArray[np.int64]
    peak_activation_bytes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the block at one place of the deepest network depends on, beside the resolution, which is gene 0.

    genes       their positions in a gene string
    is_elastic  whether the block is skipped when the first of these genes is 0
    """

    genes: tuple[int, ...] = ()
    is_elastic: bool = False


class SearchSpace(Protocol):
    """A set of architectures, their encoding as genes, and their blocks."""

    @property
    def name(self) -> str: ...

    @property
    def resolutions(self) -> tuple[int, ...]: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def gene_lower(self) -> NDArray[np.int64]:
        """Smallest value of each gene, shape `(num_genes,)`."""
        ...

    @property
    def gene_upper(self) -> NDArray[np.int64]:
        """Largest value of each gene (included), shape `(num_genes,)`."""
        ...

    @property
    def places(self) -> tuple[Place, ...]:
        """The blocks of the deepest network, in order of execution; every other network has some of these places."""
        ...

    def check(self, architecture: Architecture) -> None:
        """Raise `ArchitectureError` unless `architecture` is a point of this space; the message names the value and what is allowed."""
        ...

    def encode(self, architecture: Architecture) -> NDArray[np.int64]:
        """Genes of one architecture in canonical form, shape `(num_genes,)`."""
        ...

    def decode(self, genes: NDArray[np.int64]) -> Architecture:
        """The architecture of one gene string, shape `(num_genes,)`, which is repaired first."""
        ...

    def repair(self, genes: Genes) -> Genes:
        """The canonical gene strings of the same networks: two strings are the same network if and only if they repair to the same string."""
        ...

    def sample(self, rng: np.random.Generator, count: int, *, sampling: Sampling = "balanced-depth") -> Genes:
        """`count` random architectures in canonical form; duplicates are possible."""
        ...

    def smallest(self) -> Architecture: ...

    def largest(self) -> Architecture: ...

    def blocks(self, architecture: Architecture) -> tuple[Block, ...]:
        """All blocks from image to logits, in order of execution."""
        ...

    def count(self, genes: Genes) -> Counts:
        """MACs, parameters and peak activation memory of `n` gene strings at once."""
        ...
