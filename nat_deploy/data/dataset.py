"""The values: images of one part of a data set, and the parts together."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from nat_deploy.data.augmentation import Augmentation

_STATISTICS_IMAGES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """Mean and standard deviation of each channel, on a scale where white is 1; the default is ImageNet's."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """Decoded images and their classes.

    images         uint8, shape `(n, 3, size, size)`; memory-mapped when it comes from the cache
    labels         int64, shape `(n,)`, indices of `DataSplits.class_names`
    normalisation  what a network trained on this data expects; validation and test images carry that of the training images
    """

    images: Tensor
    labels: Tensor
    normalisation: Normalisation = Normalisation()

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise ValueError(f"images must be uint8 (n, 3, size, size), but are {self.images.dtype} {tuple(self.images.shape)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must be int64, one per image, but are {self.labels.dtype} {tuple(self.labels.shape)}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_size(self) -> int:
        """Height and width of the stored images, in pixels."""
        return self.images.shape[-1]

    def subset(self, indices: Tensor) -> ImageSet:
        """The images at `indices`, copied into memory."""
        return ImageSet(images=self.images[indices], labels=self.labels[indices], normalisation=self.normalisation)

    def to(self, device: str | torch.device) -> ImageSet:
        """The same set on another device: on a GPU that can hold it, batches then need no copies."""
        return ImageSet(images=self.images.to(device), labels=self.labels.to(device), normalisation=self.normalisation)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSplits:
    """One data set: `train` to learn from, `val` to choose by, `test` to report on; no image is in two of them.

    `test` is None when the data set has none. `augmentation` is a sensible one for such images: digits must not be mirrored.
    """

    name: str
    train: ImageSet
    val: ImageSet
    test: ImageSet | None
    class_names: tuple[str, ...]
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def normalisation(self) -> Normalisation:
        return self.train.normalisation


def measure_normalisation(images: Tensor) -> Normalisation:
    """Mean and deviation of each channel over at most 4,096 evenly spaced images, uint8 `(n, 3, size, size)`."""
    step = -(-len(images) // _STATISTICS_IMAGES)
    count, total, squares = 0, torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for part in torch.split(images[::step], 256):
        values = part.transpose(0, 1).flatten(1).float() / 255
        count += values.shape[1]
        total += values.sum(dim=1).double()
        squares += (values * values).sum(dim=1).double()
    mean = total / count
    std = (squares / count - mean**2).clamp(min=0).sqrt().clamp(min=1 / 255)  # images of one colour must not divide by zero
    return Normalisation(mean=_triple(mean), std=_triple(std))


def _triple(values: Tensor) -> tuple[float, float, float]:
    red, green, blue = (round(value, 6) for value in values.tolist())
    return red, green, blue
