"""This package itself: how child processes find it, and its files as bytes for a board."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files give the same bytes


@dataclass(frozen=True)
class PackageCopy:
    """The source files of this package."""

    digest: str  # over names and contents, as `transports/bootstrap.py` computes it on the board
    archive: bytes  # zip with the folder `profilers`


def copy_package() -> PackageCopy:
    """Read the source files of this package."""
    package = Path(__file__).resolve().parent
    files = {path.relative_to(package.parent).as_posix(): path.read_bytes() for path in package.rglob("*.py")}
    digest = hashlib.sha256()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for name in sorted(files):
            digest.update(b"%s\0%d\0%s" % (name.encode("utf-8"), len(files[name]), files[name]))
            packed.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
    return PackageCopy(digest.hexdigest(), archive.getvalue())


def package_environment() -> dict[str, str]:
    """Environment for child processes: they find this package where this process found it."""
    folder = str(Path(__file__).resolve().parent.parent)
    paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    # Maths libraries of numpy would start threads that only wait, beside those of the runtime.
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
