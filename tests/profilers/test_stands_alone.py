"""The package can be copied alone to a board with an old Python."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import profilers

PACKAGE = Path(profilers.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [".".join(("profilers", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in FILES]


def run(script: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_parses_as_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


NOT_GENERIC_YET = {"dict", "frozenset", "list", "set", "tuple", "type"}
NOT_GENERIC_YET |= {"Callable", "Iterable", "Iterator", "Mapping", "Sequence", "Popen", "Queue", "NDArray"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_types_that_python_3_8_cannot_subscript_stand_in_annotations_only(path: Path) -> None:
    for node in evaluated(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Subscript):
            name = getattr(node.value, "attr", getattr(node.value, "id", ""))
            assert name not in NOT_GENERIC_YET, f"{path.name}:{node.lineno}"


def evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what Python evaluates: no annotations, nothing that only type checkers read."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from evaluated(child)


def test_uses_nothing_newer_than_python_3_8() -> None:
    pytest.importorskip("vermin")
    done = subprocess.run(
        [sys.executable, "-c", "import vermin; vermin.main()", "-t=3.8-", "--no-tips", str(PACKAGE)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


def test_imports_without_its_heavy_neighbours() -> None:
    names = [name for name in MODULES if not name.endswith(("__init__", "__main__"))]
    blocked = ("torch", "nat_deploy", "onnx", "pydantic", "typer", "scipy", "onnxruntime", "numpy.typing")
    run(
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        f"import importlib\nfor name in {names!r}: importlib.import_module(name)",
        PACKAGE.parent,
    )


def test_importing_it_imports_next_to_nothing() -> None:
    loaded = run("import sys, profilers; profilers.Job; print(*sys.modules)", PACKAGE.parent).split()
    assert not {"numpy", "onnxruntime", "torch", "onnx", "nat_deploy"} & set(loaded)


def test_every_public_name_is_there() -> None:
    for name in dir(profilers):
        assert getattr(profilers, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = profilers.nonsense


def test_runs_where_it_was_copied(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "profilers", ignore=shutil.ignore_patterns("__pycache__"))
    script = "import profilers; print(profilers.__file__, profilers.Settings.preset('fast').half_width)"
    place, width = run(script, tmp_path).split()
    assert Path(place).parent == tmp_path / "profilers"
    assert float(width) == 0.02
