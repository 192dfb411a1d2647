"""Data sets in folders: one folder per class, with or without `train/`, `val/`, `test/` above them."""

import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from nat_deploy.data.source import Listing, RawDataSet, list_all
from nat_deploy.errors import DataSetError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")
_VAL_NAMES = ("val", "valid", "validation")


@dataclass(frozen=True, slots=True)
class FileSource:
    """Images that are files."""

    paths: tuple[Path, ...]

    def read(self, index: int) -> Image.Image:
        return Image.open(self.paths[index])

    def describe(self, index: int) -> str:
        return str(self.paths[index])

    def fingerprint(self, index: int) -> str:
        facts = self.paths[index].stat()
        return f"{self.paths[index].resolve()} {facts.st_size} {facts.st_mtime_ns}"


def find_folder(folder: Path) -> RawDataSet:
    """List the images of a folder; none is opened. Paths are absolute from here on.

    Raises:
        DataSetError: There is no such folder, it has fewer than two classes, a class has no images, or the parts' classes differ.
    """
    if not folder.is_dir():
        raise DataSetError(f"data must be a folder with one folder per class, but '{folder}' is not a folder; check the path")
    folder = folder.resolve()
    train_folder = folder / "train"
    if not _folders(train_folder):
        lone = [name for name in (*_VAL_NAMES, "test") if _folders(folder / name)]
        if lone:
            raise DataSetError(f"'{folder}' must have a folder 'train' with classes beside '{lone[0]}', but it has none; add it")
        return RawDataSet(name=folder.name, class_names=_class_names(folder), train=_list_train(folder), val=None, test=None)
    class_names = _class_names(train_folder)
    val_folder = next((folder / name for name in _VAL_NAMES if (folder / name).is_dir()), None)
    test_folder = folder / "test"
    return RawDataSet(
        name=folder.name,
        class_names=class_names,
        train=_list_train(train_folder),
        val=_list_part(val_folder, class_names) if val_folder else None,
        test=_list_part(test_folder, class_names) if test_folder.is_dir() else None,
    )


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(_folders(folder))
    if len(names) < 2:
        found = f"only '{names[0]}'" if names else "none"
        raise DataSetError(
            f"'{folder}' must have at least 2 class folders, but it has {found}; put each class into a folder of its own"
        )
    return names


def _list_train(folder: Path) -> Listing:
    names = _class_names(folder)
    listing = _list_classes(folder, names)
    filled = set(listing.labels.tolist())
    for label, name in enumerate(names):
        if label not in filled:
            raise DataSetError(
                f"class folder '{folder / name}' must hold images ({', '.join(IMAGE_SUFFIXES)}), but has none; fill or remove it"
            )
    return listing


def _list_part(folder: Path, class_names: tuple[str, ...]) -> Listing:
    names = set(_folders(folder))
    for name in sorted(names.symmetric_difference(class_names)):
        which = "is there, but 'train' has no such class" if name in names else "is missing"
        raise DataSetError(
            f"'{folder}' must have the class folders of 'train', but '{name}' {which}; make them equal (a folder may be empty)"
        )
    listing = _list_classes(folder, class_names)
    if not len(listing):
        raise DataSetError(f"'{folder}' must hold images, but it holds none; fill it, or remove it to use a share of 'train'")
    return listing


def _list_classes(folder: Path, class_names: tuple[str, ...]) -> Listing:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        found = _images(folder / name)
        paths += found
        labels += [label] * len(found)
    return list_all(FileSource(tuple(paths)), labels)


def _folders(folder: Path) -> list[str]:
    """Names of the folders in it, sorted; none if it is not a folder."""
    if not folder.is_dir():
        return []
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataSetError(f"'{folder}' must be readable, but it is not ({error.strerror}); change its permissions") from error


def _images(folder: Path) -> list[Path]:
    """Images at any depth, sorted; hidden files (such as macOS leaves) are no images."""
    return sorted(
        Path(place, name)
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
    )
