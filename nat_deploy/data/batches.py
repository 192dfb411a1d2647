"""From a stored image set to the batches that a network reads."""

from collections.abc import Iterator

import torch
from torch import Tensor

from nat_deploy.data.augmentation import (
    Augmentation,
    erase_squares,
    mix_rectangles,
    random_colour_matrices,
    random_crops,
    random_operations,
    shrink,
)
from nat_deploy.data.dataset import ImageSet, Normalisation

Batch = tuple[Tensor, Tensor]


def batches(
    image_set: ImageSet,
    *,
    batch_size: int,
    resolution: int,
    generator: torch.Generator | None = None,
    augmentation: Augmentation | None = None,
    device: str | torch.device = "cpu",
    drop_last: bool = False,
) -> Iterator[Batch]:
    """Once through the set: normalised images and their labels.

    Args:
        image_set: Images of any size.
        batch_size: Images per batch; the last batch may be smaller, unless `drop_last` (which never drops the only one).
        resolution: Height and width of the images that come out, in pixels.
        generator: On the CPU; shuffles and augments. None keeps the order of the set.
        augmentation: Random changes; needs a generator.
        device: Where the batches go.
        drop_last: Leave out a last batch that is not full.

    Yields:
        images float32 `(n, 3, resolution, resolution)` in channels-last memory, labels int64 `(n,)`.
    """
    if augmentation is not None and generator is None:
        raise ValueError("augmentation needs a generator")
    order = torch.arange(len(image_set)) if generator is None else torch.randperm(len(image_set), generator=generator)
    if drop_last and len(order) > batch_size:
        order = order[: len(order) // batch_size * batch_size]
    for picked in torch.split(order, batch_size):
        pixels = image_set.images[picked.to(image_set.images.device)].to(device)
        labels = image_set.labels[picked.to(image_set.labels.device)].to(device)
        if augmentation is None or generator is None:
            images = normalise(shrink(pixels.float(), resolution), image_set.normalisation)
        else:
            images = _augmented(pixels, resolution, augmentation, generator, image_set.normalisation)
        yield images.contiguous(memory_format=torch.channels_last), labels


def training_batch(
    image_set: ImageSet,
    *,
    resolution: int,
    generator: torch.Generator,
    augmentation: Augmentation,
    num_classes: int,
    device: str | torch.device = "cpu",
) -> Batch:
    """The whole (small) set as one batch, augmented; as `batches` gives it, but where images are mixed, labels are probabilities `(n, num_classes)`."""
    images, labels = next(
        batches(
            image_set,
            batch_size=len(image_set),
            resolution=resolution,
            generator=generator,
            augmentation=augmentation,
            device=device,
        )
    )
    if augmentation.cutmix_share:
        images, labels = mix_rectangles(images, labels, num_classes, augmentation, generator)
    return images, labels


def calibration_batches(
    image_set: ImageSet, *, count: int, batch_size: int, resolution: int, seed: int = 0, device: str | torch.device = "cpu"
) -> Iterator[Batch]:
    """Batches of `calibration_images`: for batch-norm statistics, int8 ranges."""
    chosen = calibration_images(image_set, count=count, seed=seed)
    return batches(chosen, batch_size=batch_size, resolution=resolution, device=device)


def calibration_images(image_set: ImageSet, *, count: int, seed: int = 0) -> ImageSet:
    """`count` images of the set in random order (all, if there are fewer), the same for the same seed."""
    return image_set.subset(torch.randperm(len(image_set), generator=torch.Generator().manual_seed(seed))[:count])


def normalise(pixels: Tensor, normalisation: Normalisation) -> Tensor:
    """Pixels 0..255, float `(n, 3, h, w)`, to zero mean and unit deviation."""
    mean, std = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (normalisation.mean, normalisation.std))
    return pixels.mul(1 / (255 * std)).sub_(mean / std)


def _augmented(
    pixels: Tensor, resolution: int, augmentation: Augmentation, generator: torch.Generator, normalisation: Normalisation
) -> Tensor:
    if augmentation.rand_augment:
        pixels = random_operations(pixels, augmentation, generator)
    images = random_crops(pixels.float(), resolution, augmentation, generator)
    matrices, offsets = random_colour_matrices(images, augmentation, generator)
    mean, std = (torch.tensor(values, device=images.device).view(3, 1) for values in (normalisation.mean, normalisation.std))
    scale = 1 / (255 * std)  # normalising is one more colour matrix
    images = torch.baddbmm(scale * offsets - mean / std, scale * matrices, images.flatten(2)).view_as(images)
    if augmentation.erase_share:
        erase_squares(images, augmentation, generator)
    return images
