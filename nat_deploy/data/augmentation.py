"""Random changes of training images, a whole batch at once.

Crop, aspect, mirror and resize are one sampling of the batch; brightness, contrast, saturation and normalisation are one colour
matrix per image. So an augmented batch costs little more than a resized one, also on a CPU.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)
_MOST_SHRINK = 1.5  # sampling skips pixels beyond this, so larger images are shrunk with a filter first


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How strongly training images vary; zero or False switches a part off.

    crop_area    smallest and largest share of the image's area that a crop keeps
    crop_ratio   width over height of a crop lies between this and its inverse
    mirror       whether half of the images are mirrored left to right
    brightness, contrast, saturation
                 factors are drawn from `1 - x .. 1 + x`
    erase_share  share of images that lose one square, set to the mean colour
    erase_side   side of that square, as a share of the image's side
    rand_augment number of random operations on each image (shears, rotations, colours …), drawn by RandAugment; it works image by image, so it is the
                 one part that costs time
    rand_augment_magnitude
                 how far these go, 0..30
    cutmix_share share of batches whose images each get a rectangle of another one, and a share of its label

    Defaults: the recipe of Once-for-all (brightness 32/255, saturation 0.5) with milder crops, for data smaller than ImageNet.
    """

    crop_area: tuple[float, float] = (0.35, 1.0)
    crop_ratio: float = 4 / 3
    mirror: bool = True
    brightness: float = 32 / 255
    contrast: float = 0.0
    saturation: float = 0.5
    erase_share: float = 0.0
    erase_side: float = 0.35
    rand_augment: int = 0
    rand_augment_magnitude: int = 9
    cutmix_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise ValueError(f"crop_area must rise within 0..1, but is {self.crop_area}")
        if self.crop_ratio < 1:
            raise ValueError(f"crop_ratio must be at least 1, but is {self.crop_ratio}")
        for name in ("brightness", "contrast", "saturation", "erase_share", "erase_side", "cutmix_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, but is {getattr(self, name)}")
        if self.rand_augment < 0 or not 0 <= self.rand_augment_magnitude <= 30:
            raise ValueError(
                f"rand_augment must be at least 0 and its magnitude in 0..30, but they are {self.rand_augment} and {self.rand_augment_magnitude}"
            )


def shrink(images: Tensor, size: int) -> Tensor:
    """Float images `(n, c, s, s)` at `size` pixels, with an anti-aliasing filter."""
    return images if images.shape[-1] == size else F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def random_crops(images: Tensor, resolution: int, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Crop, stretch, mirror and resize float images `(n, c, s, s)` to `(n, c, resolution, resolution)`."""
    most = math.ceil(resolution * _MOST_SHRINK)
    if images.shape[-1] > most:
        images = shrink(images, most)
    count = len(images)
    area = _uniform(count, *augmentation.crop_area, generator)
    log_ratio = math.log(augmentation.crop_ratio)
    ratio = torch.exp(_uniform(count, -log_ratio, log_ratio, generator))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    left, top = (_uniform(count, -1, 1, generator) * (1 - side) for side in (width, height))
    if augmentation.mirror:
        width = torch.where(torch.rand(count, generator=generator) < 0.5, -width, width)
    zero = torch.zeros(count)
    rows = torch.stack([torch.stack([width, zero, left], 1), torch.stack([zero, height, top], 1)], 1)  # (n, 2, 3)
    grid = F.affine_grid(rows.to(images.device), [count, images.shape[1], resolution, resolution], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def random_colour_matrices(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Matrices `(n, 3, 3)` and offsets `(n, 3, 1)` that vary saturation, contrast about the image's mean grey, and brightness."""
    count = len(images)
    luma = torch.tensor(_LUMA).expand(3, 3)
    saturation, contrast, brightness = (
        _uniform(count, 1 - strength, 1 + strength, generator).view(-1, 1, 1)
        for strength in (augmentation.saturation, augmentation.contrast, augmentation.brightness)
    )
    matrices = contrast * brightness * (saturation * torch.eye(3) + (1 - saturation) * luma)
    matrices = matrices.to(images.device)
    if not augmentation.contrast:
        return matrices, torch.zeros(count, 3, 1, device=images.device)
    grey = images.mean(dim=(2, 3)) @ torch.tensor(_LUMA, device=images.device)
    offsets = ((1 - contrast) * brightness).to(images.device) * grey.view(-1, 1, 1)
    return matrices, offsets.expand(-1, 3, 1)


def erase_squares(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> None:
    """Set one square of some normalised images `(n, 3, r, r)` to the mean colour, in place."""
    resolution = images.shape[-1]
    side = round(augmentation.erase_side * resolution)
    chosen = (torch.rand(len(images), generator=generator) < augmentation.erase_share).nonzero().flatten().tolist()
    corners = torch.randint(resolution - side + 1, (len(images), 2), generator=generator).tolist()
    for index in chosen:
        top, left = corners[index]
        images[index, :, top : top + side, left : left + side] = 0


def random_operations(pixels: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Images uint8 `(n, 3, s, s)` after RandAugment (Cubuk et al., arXiv 1909.13719)."""
    from torchvision.transforms import v2  # slow to import, and few need it

    operations = v2.RandAugment(augmentation.rand_augment, augmentation.rand_augment_magnitude, fill=[128.0])
    with _drawing_from(generator):
        return torch.stack([operations(image) for image in pixels])


def mix_rectangles(
    images: Tensor, labels: Tensor, num_classes: int, augmentation: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """CutMix (Yun et al., arXiv 1905.04899) for some batches of images `(n, 3, r, r)`; their labels become probabilities `(n, num_classes)`."""
    from torchvision.transforms import v2

    if float(torch.rand((), generator=generator)) >= augmentation.cutmix_share:
        return images, labels
    with _drawing_from(generator):
        mixed, probabilities = v2.CutMix(num_classes=num_classes)(images, labels)
    return mixed, probabilities


@contextmanager
def _drawing_from(generator: torch.Generator) -> Iterator[None]:
    """torchvision draws from torch's one generator: lend it a state that `generator` chose, and put its own back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)
