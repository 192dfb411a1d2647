"""Where images come from before they are decoded, and how they are divided."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nat_deploy.data.augmentation import Augmentation
from nat_deploy.errors import DataSetError


class ImageSource(Protocol):
    """Images that can be read one by one, from several threads."""

    def read(self, index: int) -> Image.Image:
        """The image as it is stored, of any size and mode."""
        ...

    def describe(self, index: int) -> str:
        """What a person finds the image by."""
        ...

    def fingerprint(self, index: int) -> str:
        """Differs when the image differs; reads no pixels."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Images that are not decoded yet: places in a source, and their classes, int64 `(n,)` both."""

    source: ImageSource
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def pick(self, rows: NDArray[np.int64]) -> "Listing":
        return Listing(source=self.source, indices=self.indices[rows], labels=self.labels[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class RawDataSet:
    """A data set as it was found; `val` and `test` are None where it has no such part."""

    name: str
    class_names: tuple[str, ...]
    train: Listing
    val: Listing | None
    test: Listing | None
    augmentation: Augmentation = field(default_factory=Augmentation)


def list_all(source: ImageSource, labels: Sequence[int] | NDArray[np.int64]) -> Listing:
    """Every image of a source, in its order."""
    return Listing(source=source, indices=np.arange(len(labels)), labels=np.asarray(labels, dtype=np.int64))


def split(listing: Listing, share: float, rng: np.random.Generator) -> tuple[Listing, Listing]:
    """Take a share of every class away, at random: what stays, what was taken.

    Every class keeps at least one image, and gives at least one if it has two.

    Raises:
        DataSetError: No class has two images.
    """
    taken = np.zeros(len(listing), dtype=bool)
    for label in np.unique(listing.labels):
        rows = rng.permutation(np.flatnonzero(listing.labels == label))
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        taken[rows[:count]] = True
    if not taken.any():
        raise DataSetError("every part must have images, but no class has 2 left to divide; have 3 or more a class")
    return listing.pick(np.flatnonzero(~taken)), listing.pick(np.flatnonzero(taken))


def limit(listing: Listing, most: int, rng: np.random.Generator) -> Listing:
    """At most `most` images at random, each class by its share and none of them empty."""
    num_classes = len(np.unique(listing.labels))
    if most < num_classes:
        raise DataSetError(f"training needs an image of each of {num_classes} classes, but may use only {most}; raise the limit")
    if most >= len(listing):
        return listing
    # each class is put into a random order, and an image's turn is its rank over the size of its class: classes keep their shares
    turn = np.empty(len(listing))
    for label in np.unique(listing.labels):
        rows = rng.permutation(np.flatnonzero(listing.labels == label))
        turn[rows] = np.arange(len(rows)) / len(rows)
    return listing.pick(np.sort(np.argsort(turn, kind="stable")[:most]))
