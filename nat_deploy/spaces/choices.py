"""Checks that all spaces share, each with one sentence that names the value and what is allowed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import ArchitectureError
from nat_deploy.spaces.architecture import Architecture
from nat_deploy.spaces.space import Genes

SMALLEST_RESOLUTION = 32


def check_name(architecture: Architecture, *names: str) -> None:
    if architecture.space not in names:
        known = "' or '".join(names)
        raise ArchitectureError(
            f"space must be '{known}', but the architecture is of '{architecture.space}'; choose --space {architecture.space}"
        )


def check_choice(name: str, value: float, choices: Sequence[float]) -> None:
    if isinstance(value, bool) or value not in choices:
        raise ArchitectureError(f"{name} must be one of {listed(choices)}, but it is {value}; change it to one of these")


def check_length(name: str, values: Sequence[float], length: int, meaning: str) -> None:
    if len(values) != length:
        raise ArchitectureError(f"{name} must have {length} values ({meaning}), but it has {len(values)}; add or remove values")


def check_genes(genes: Genes, lower: NDArray[np.int64], upper: NDArray[np.int64]) -> Genes:
    """The genes as int64, if they have shape `(n, num_genes)` and lie within the bounds."""
    genes = np.asarray(genes, dtype=np.int64)
    if genes.ndim != 2 or genes.shape[1] != len(lower):
        raise ArchitectureError(f"genes must have shape (n, {len(lower)}), but have {genes.shape}")
    outside = np.argwhere((genes < lower) | (genes > upper))
    if len(outside):
        row, column = outside[0]
        raise ArchitectureError(f"gene {column} must lie in {lower[column]}..{upper[column]}, but it is {genes[row, column]}")
    return genes


def check_task(resolutions: tuple[int, ...], num_classes: int) -> None:
    """Whether images and classes are such that a network of any space can take them."""
    if num_classes < 2:
        raise ArchitectureError(f"num_classes must be at least 2, but it is {num_classes}; a classifier needs a choice")
    if not resolutions or tuple(sorted(set(resolutions))) != resolutions or resolutions[0] < SMALLEST_RESOLUTION:
        raise ArchitectureError(
            f"resolutions must be rising, different and at least {SMALLEST_RESOLUTION}, but they are {listed(resolutions)}; "
            "give for example 128-256"
        )


def listed(values: Sequence[float]) -> str:
    """Choices as a person writes them: `3, 5, 7` or `128, 132, ..., 256`."""
    texts = [f"{value:g}" for value in values]
    return ", ".join(texts if len(texts) <= 8 else [*texts[:2], "...", texts[-1]])
