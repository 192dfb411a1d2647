"""The way in: a name or a folder becomes image sets."""

from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor

from nat_deploy.data.cache import Progress, load_images
from nat_deploy.data.dataset import DataSplits, ImageSet, Normalisation, measure_normalisation
from nat_deploy.data.folder import find_folder
from nat_deploy.data.named import NAMES, find_named
from nat_deploy.data.source import Listing, RawDataSet, limit, split
from nat_deploy.errors import InputError


def load_data(
    name_or_dir: str | Path,
    *,
    image_size: int,
    seed: int,
    val_share: float = 0.1,
    cache_dir: Path | None = None,
    max_train: int | None = None,
    normalisation: Normalisation | None = None,
    progress: Progress | None = None,
) -> DataSplits:
    """Load a data set; its images are decoded the first time and memory-mapped from then on.

    A folder holds one folder per class, either directly or in `train/`, with `val/` and `test/` beside it if there are any. Where
    there is no validation part, a share of each class of the training images becomes one; where there is
    no test part either, another such share becomes that.

    Args:
        name_or_dir: One of `NAMES`, or a folder (`./cifar10` is a folder, `cifar10` the known set).
        image_size: Height and width at which images are stored, in pixels.
        seed: Of the division into parts.
        val_share: Share of each class that becomes the validation part, in 0..1.
        cache_dir: Where decoded and downloaded images are kept; by default the user's cache folder.
        max_train: Most training images to use, taken from every class by its share.
        normalisation: That of a network that is trained already; by default measured on the training images.
        progress: Called while images are decoded, with the number done and the number of all of that part.

    Raises:
        DataSetError: The data set is not known, or cannot be trained on.
        WorkError: It could not be downloaded, or the disk is full.
    """
    if not 8 <= image_size <= 1024:
        raise InputError(f"image size must lie in 8..1024 pixels, but it is {image_size}; choose the space's largest resolution")
    if not 0 < val_share < 0.5:
        raise InputError(f"the validation share must lie between 0 and 0.5, but it is {val_share}; choose for example 0.1")
    cache_dir = platformdirs.user_cache_path("natdeploy") if cache_dir is None else Path(cache_dir)
    if max_train is not None and max_train < 1:
        raise InputError(f"the most training images must be at least 1, but it is {max_train}; leave it out to use all")
    raw = _find(name_or_dir, cache_dir / "downloads")
    train, val, test = _divide(raw, val_share, max_train, np.random.default_rng(seed))

    def decoded(listing: Listing) -> Tensor:
        return torch.from_numpy(load_images(listing, image_size, cache_dir=cache_dir / "images", progress=progress))

    train_images = decoded(train)
    normalisation = normalisation or measure_normalisation(train_images)

    def image_set(listing: Listing, images: Tensor) -> ImageSet:
        return ImageSet(images=images, labels=torch.from_numpy(listing.labels), normalisation=normalisation)

    return DataSplits(
        name=raw.name,
        train=image_set(train, train_images),
        val=image_set(val, decoded(val)),
        test=None if test is None else image_set(test, decoded(test)),
        class_names=raw.class_names,
        augmentation=raw.augmentation,
    )


def data_name(name_or_dir: str | Path) -> str:
    """The name that `load_data` gives a data set: the known one, or that of the folder; nothing is read."""
    return str(name_or_dir) if _is_named(name_or_dir) else Path(name_or_dir).resolve().name


def _find(name_or_dir: str | Path, download_dir: Path) -> RawDataSet:
    return find_named(str(name_or_dir), download_dir) if _is_named(name_or_dir) else find_folder(Path(name_or_dir))


def _is_named(name_or_dir: str | Path) -> bool:
    is_name = isinstance(name_or_dir, str) and "/" not in name_or_dir
    return is_name and (name_or_dir in NAMES or not Path(name_or_dir).is_dir())


def _divide(
    raw: RawDataSet, val_share: float, max_train: int | None, rng: np.random.Generator
) -> tuple[Listing, Listing, Listing | None]:
    """Training, validation and test images; a test part is taken only from data that came without any parts."""
    train, val, test = raw.train, raw.val, raw.test
    if val is None and test is None:
        train, test = split(train, val_share, rng)
    if val is None:
        train, val = split(train, val_share, rng)
    if max_train is not None:
        train = limit(train, max_train, rng)
    return train, val, test
