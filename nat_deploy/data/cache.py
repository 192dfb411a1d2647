"""Images decoded once: a memory-mapped array per listing and size.

Each entry is `<key>.npy`, uint8 `(n, 3, size, size)`, and `<key>.json`, which is written last and holds the array's checksum. The
key is a hash of the list of images (name, length, time of change) and the size, so a changed data set is another entry; an entry
that is damaged is made again.
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nat_deploy.data.source import ImageSource, Listing
from nat_deploy.errors import DataSetError, InputError
from nat_deploy.files import open_atomically, read_json_document, write_atomically, writing_error

Progress = Callable[[int, int], None]
"""Called with the number of images decoded so far and the number of all."""

_FORMAT = 1
_CHUNK = 512


def load_images(listing: Listing, image_size: int, *, cache_dir: Path, progress: Progress | None = None) -> NDArray[np.uint8]:
    """Decoded images of a listing, shape `(n, 3, image_size, image_size)`, memory-mapped.

    Raises:
        DataSetError: An image cannot be read; the message names it.
        InputError, WorkError: The cache cannot be written.
    """
    key = _key(listing, image_size)
    array_path, facts_path = cache_dir / f"{key}.npy", cache_dir / f"{key}.json"
    shape = (len(listing), 3, image_size, image_size)
    if not _is_intact(array_path, facts_path, shape):
        checksum = _write_images(listing, shape, array_path, progress)
        write_atomically(facts_path, f'{{"format": {_FORMAT}, "crc32": {checksum}}}\n')
    # copy-on-write: torch wants an array that may be written to, the file must stay as it is
    images: NDArray[np.uint8] = np.load(array_path, mmap_mode="c", allow_pickle=False)
    return images


def decode(source: ImageSource, index: int, image_size: int) -> NDArray[np.uint8]:
    """One image as RGB, shape `(3, image_size, image_size)`: shorter side resized (bicubic, anti-aliased), centre cropped.

    Raises:
        DataSetError: The image cannot be read.
    """
    try:
        with source.read(index) as stored:
            stored.draft("RGB", (2 * image_size, 2 * image_size))  # large JPEGs: decode at a fraction of their size
            image = ImageOps.exif_transpose(stored)
            if "transparency" in image.info:
                image = image.convert("RGBA")
            image = image.convert("RGB")
            image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)
    except Exception as error:  # the decoders raise nearly anything on damaged files
        raise _unreadable(source, index, error) from error
    return np.asarray(image).transpose(2, 0, 1)


def _unreadable(source: ImageSource, index: int, error: Exception) -> DataSetError:
    return DataSetError(
        f"every image must be readable, but {source.describe(index)} is not ({error}); repair or delete it and run again"
    )


def _write_images(listing: Listing, shape: tuple[int, ...], path: Path, progress: Progress | None) -> int:
    """Write the array row by row, so that a full disk is an error and not a crash; returns its checksum."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing_error(path.parent, error) from error
    with open_atomically(path) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        checksum = 0
        for done, image in enumerate(_decode_all(listing, shape[-1]), start=1):
            data = image.tobytes()
            checksum = zlib.crc32(data, checksum)
            file.write(data)
            if progress is not None and (done % _CHUNK == 0 or done == len(listing)):
                progress(done, len(listing))
    return checksum


def _decode_all(listing: Listing, image_size: int) -> Iterator[NDArray[np.uint8]]:
    """Decoded images in order; decoding leaves the interpreter lock, so threads are enough."""
    with ThreadPoolExecutor(max_workers=_num_cpus()) as pool:
        for start in range(0, len(listing), _CHUNK):
            chunk = listing.indices[start : start + _CHUNK].tolist()
            yield from pool.map(lambda index: decode(listing.source, index, image_size), chunk)


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_intact(array_path: Path, facts_path: Path, shape: tuple[int, ...]) -> bool:
    if not (array_path.is_file() and facts_path.is_file()):
        return False
    try:
        facts = read_json_document(facts_path)
        images = np.load(array_path, mmap_mode="r", allow_pickle=False)
    except (InputError, OSError, ValueError, EOFError):
        return False
    if images.shape != shape or images.dtype != np.uint8:
        return False
    checksum = 0
    for start in range(0, len(images), _CHUNK):
        checksum = zlib.crc32(images[start : start + _CHUNK], checksum)
    return facts == {"format": _FORMAT, "crc32": checksum}


def _key(listing: Listing, image_size: int) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {image_size}\n".encode())
    for index in listing.indices.tolist():
        try:
            digest.update(f"{listing.source.fingerprint(index)}\n".encode(errors="surrogateescape"))
        except OSError as error:  # a link to nowhere, or a file that just went
            raise _unreadable(listing.source, index, error) from error
    return digest.hexdigest()[:32]
