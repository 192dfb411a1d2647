"""What tests of all rooms share: real images, one thread, and a folder of their own for what is temporary."""

import multiprocessing.util
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import pytest

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before torch and numpy are imported
    os.environ.setdefault(variable, "1")


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder() -> Iterator[None]:
    """Locks of devices lie there: tests wait neither for those that run beside them nor for a profiler at work on this machine."""
    multiprocessing.util.get_temp_dir()  # made elsewhere: it is removed at the very end, after this one
    # Not below pytest's own folder: sockets lie there too (Ray's), whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="nd-", ignore_cleanup_errors=True) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real images, which is kept beside the project and not in it."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real images in {folder}")
    return folder


@pytest.fixture(scope="session")
def unpack_images(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """`unpack_images("flowers5", 10)`: a folder with the first 10 images of every class of every part."""

    def unpack(name: str, per_class: int) -> Path:
        folder = tmp_path_factory.mktemp(name) / name
        with zipfile.ZipFile(shared_data / f"{name}.zip") as archive:
            archive.extractall(folder, members=_first_of_each_folder(archive.namelist(), per_class))
        return folder

    return unpack


@pytest.fixture(scope="session")
def flowers_dir(unpack_images: Callable[[str, int], Path]) -> Path:
    """Photographs of five flowers, `train/` 20 and `test/` 20 a class, 128 x 128 pixels."""
    return unpack_images("flowers5", 20)


@pytest.fixture(scope="session")
def cifar10_dir(unpack_images: Callable[[str, int], Path]) -> Path:
    """CIFAR-10, `train/` 20 and `test/` 20 a class, 32 x 32 pixels, lossless."""
    return unpack_images("cifar10", 20)


def _first_of_each_folder(names: Iterable[str], count: int) -> list[str]:
    taken: dict[PurePosixPath, list[str]] = {}
    for name in sorted(names):
        members = taken.setdefault(PurePosixPath(name).parent, [])
        if len(members) < count:
            members.append(name)
    return [name for members in taken.values() for name in members]
