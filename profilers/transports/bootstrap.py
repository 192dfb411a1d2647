"""The first script on a board: takes the package unless it is there already, then hands over to `profilers.board`.

It is sent over the connection and not copied; Python 3.5 reads it too, so that a board whose Python is too old can say so.
Standard input: a line `{"digest": ..., "minimum": [3, 8]}`; then a line with the size of the archive (0 when the board has the
package) and the archive. Standard output: an answer to each, in a line that begins with `MARK`.
"""

import hashlib
import io
import json
import os
import sys
import tempfile
import zipfile
from typing import Any, BinaryIO

MARK = "natdeploy board: "  # what login scripts print before it is passed over


def main(stdin: BinaryIO) -> None:
    request = json.loads(stdin.readline().decode("utf-8"))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    root = os.path.join(cache, "natdeploy")
    home = os.path.join(root, "package", request["digest"])
    found = {"python": list(sys.version_info[:3]), "executable": sys.executable}
    if found["python"] < request["minimum"]:
        _say(found)
        return
    _say(dict(found, has_package=_digest(home) == request["digest"]))
    size = int(stdin.readline() or b"0")
    try:
        if size:
            _install(stdin.read(size), home, request["digest"])
    except (OSError, zipfile.BadZipFile) as error:
        _say({"errno": getattr(error, "errno", None), "reason": str(error), "path": root})
        return
    _say({"ready": True})
    sys.path.insert(0, home)
    from profilers.board import serve

    serve(stdin, root)


def _say(answer: Any) -> None:
    print(MARK + json.dumps(answer), flush=True)


def _digest(home: str) -> str:
    """Return the digest of an installed copy, as `profilers.package_copy` computes it."""
    names = []
    for folder, _, files in os.walk(home):
        inside = os.path.relpath(folder, home).replace(os.sep, "/")
        names += [inside + "/" + name for name in files if name.endswith(".py")]
    digest = hashlib.sha256()
    for name in sorted(names):
        with io.open(os.path.join(home, name), "rb") as file:
            content = file.read()
        digest.update(b"%s\0%d\0%s" % (name.encode("utf-8"), len(content), content))
    return digest.hexdigest()


def _install(archive: bytes, home: str, digest: str) -> None:
    """Unpack beside the final place, check, and rename: a copy is whole or not there."""
    place = os.path.dirname(home)
    os.makedirs(place, 0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        fresh, damaged = os.path.join(folder, "fresh"), os.path.join(folder, "damaged")
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            packed.extractall(fresh)
        if _digest(fresh) != digest:
            raise OSError("the copy of the package is not what was sent")
        if os.path.isdir(home):
            os.rename(home, damaged)
        try:
            os.rename(fresh, home)
        except OSError:
            if _digest(home) != digest:  # else another connection was faster
                raise
