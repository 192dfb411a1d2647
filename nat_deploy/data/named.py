"""Data sets known by name: digits, which come with scikit-learn, and the sets that torchvision downloads."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nat_deploy.data.augmentation import Augmentation
from nat_deploy.data.source import Listing, RawDataSet, list_all, split
from nat_deploy.errors import DataSetError, WorkError

DOWNLOADED_NAMES = ("aircraft", "cifar10", "cifar100", "dtd", "flowers102", "food101", "pets", "stl10")
NAMES = ("digits", *DOWNLOADED_NAMES)

_DIGITS_TEST_SHARE = 0.2
_DIGITS_WHITE = 16
_DIGITS_AUGMENTATION = Augmentation(
    crop_area=(0.7, 1.0), crop_ratio=1.2, mirror=False, brightness=0.1, contrast=0.2, saturation=0.0
)


@dataclass(frozen=True, slots=True)
class ArraySource:
    """Grey images that are in memory, uint8 `(n, height, width)`."""

    name: str
    images: NDArray[np.uint8]

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index])

    def describe(self, index: int) -> str:
        return f"image {index} of '{self.name}'"

    def fingerprint(self, index: int) -> str:
        return f"{self.name} {index} {self.images[index].tobytes().hex()}"


@dataclass(frozen=True, slots=True)
class TorchvisionSource:
    """One part of a torchvision data set."""

    name: str
    images: Any  # torchvision data sets have no common type beyond `[index] -> (image, label)`

    def read(self, index: int) -> Image.Image:
        image: Image.Image = self.images[index][0]
        return image

    def describe(self, index: int) -> str:
        return f"image {index} of '{self.name}'"

    def fingerprint(self, index: int) -> str:
        return f"torchvision {self.name} {len(self.images)} {index}"


def find_named(name: str, download_dir: Path) -> RawDataSet:
    """List the images of a known set, downloading it into `download_dir` the first time.

    Raises:
        DataSetError: The name is not known.
        WorkError: The set could not be downloaded.
    """
    match name:
        case "digits":
            return _digits()
        case "cars":
            raise DataSetError(
                "data set 'cars' must be fetched by hand, because the page it was downloaded from is gone; "
                "give a folder with one folder per class"
            )
        case _ if name in DOWNLOADED_NAMES:
            return _downloaded(name, download_dir)
        case _:
            raise DataSetError(f"data must be a folder or one of {', '.join(NAMES)}, but '{name}' is neither; check the spelling")


def _digits() -> RawDataSet:
    """1,797 handwritten digits of 8x8 pixels in 17 greys; the same fifth of them is always the test part."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / _DIGITS_WHITE)).astype(np.uint8)
    train, test = split(list_all(ArraySource("digits", images), digits.target), _DIGITS_TEST_SHARE, np.random.default_rng(0))
    names = tuple(str(digit) for digit in range(10))
    return RawDataSet(name="digits", class_names=names, train=train, val=None, test=test, augmentation=_DIGITS_AUGMENTATION)


def _downloaded(name: str, download_dir: Path) -> RawDataSet:
    parts = {}
    try:
        for part, load in _loaders(name).items():
            parts[part] = load(root=download_dir, download=True)
    except (URLError, OSError, RuntimeError) as error:  # RuntimeError: torchvision found a damaged or incomplete file
        raise WorkError(
            f"data set '{name}' could not be downloaded ({_one_line(error)}); "
            "check the connection and the disk, or give a folder with one folder per class"
        ) from error
    class_names = tuple(str(class_name) for class_name in parts["train"].classes)
    listings = {part: _list_torchvision(f"{name} {part}", images) for part, images in parts.items()}
    return RawDataSet(name=name, class_names=class_names, train=listings["train"], val=listings.get("val"), test=listings["test"])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _loaders(name: str) -> dict[str, Callable[..., Any]]:
    """The torchvision class of every part of a set."""
    from torchvision import datasets

    match name:
        case "cifar10":
            return {"train": partial(datasets.CIFAR10, train=True), "test": partial(datasets.CIFAR10, train=False)}
        case "cifar100":
            return {"train": partial(datasets.CIFAR100, train=True), "test": partial(datasets.CIFAR100, train=False)}
        case "food101":
            return {part: partial(datasets.Food101, split=part) for part in ("train", "test")}
        case "stl10":
            return {part: partial(datasets.STL10, split=part) for part in ("train", "test")}
        case "pets":
            return {
                "train": partial(datasets.OxfordIIITPet, split="trainval"),
                "test": partial(datasets.OxfordIIITPet, split="test"),
            }
        case "flowers102":
            return {part: partial(datasets.Flowers102, split=part) for part in ("train", "val", "test")}
        case "dtd":
            return {part: partial(datasets.DTD, split=part) for part in ("train", "val", "test")}
        case _:
            return {part: partial(datasets.FGVCAircraft, split=part) for part in ("train", "val", "test")}


def _list_torchvision(name: str, images: Any) -> Listing:
    # torchvision has no public way to the labels without decoding every image, and three names for them
    labels = next(getattr(images, field) for field in ("targets", "labels", "_labels") if hasattr(images, field))
    return list_all(TorchvisionSource(name, images), np.asarray(labels, dtype=np.int64))
