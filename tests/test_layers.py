"""Who may import whom: rooms depend one way, torch stays where it belongs, and what runs on devices runs without either."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nat_deploy"

# a room may import the rooms named here and those that these may import
NEXT_ROOMS = {
    "spaces": (),
    "data": (),
    "onnx_graphs": ("spaces",),
    "supernets": ("onnx_graphs",),
    "predictors": ("supernets",),
    "conversion": ("onnx_graphs",),
    "profiling": ("predictors", "conversion"),
    "training": ("supernets", "data"),
    "transfer": ("training", "predictors"),
    "tables": ("profiling",),
    "search": ("training", "profiling"),
    "export": ("training", "profiling"),
    "report": ("search", "export"),  # it explains their run folders and exports through their own readers
    "walk": ("report", "export", "search", "transfer", "tables"),
    "cli": ("walk",),
}
FOR_ALL = {"errors", "files"}
MAY_PROFILE = {"conversion", "predictors", "profiling", "tables", "export", "search", "report", "walk", "cli"}
MAY_TORCH = {"supernets", "training", "transfer", "export", "data"}
TORCH = {"torch", "torchvision"}

SOURCES = sorted(PACKAGE.rglob("*.py"))
ROOMS = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in SOURCES}


def below(room: str) -> set[str]:
    found = {room}
    for other in NEXT_ROOMS[room]:
        found |= below(other)
    return found


def imported_names(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import; write the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        allowed = set(NEXT_ROOMS)
    elif room in FOR_ALL:
        allowed = set()
    else:
        assert room in NEXT_ROOMS, f"{room} is a new room: say in NEXT_ROOMS what it may import"
        allowed = below(room)
    for name in imported_names(path):
        package, *rest = name.split(".")
        if package == "nat_deploy":
            assert rest[0] in allowed | FOR_ALL or rest[0] not in ROOMS, f"{room} must not import {name}"
        if package == "profilers":
            assert room in MAY_PROFILE, f"{room} must not import {name}"
        if package in TORCH:
            assert room in MAY_TORCH, f"{room} must not import {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "profilers").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_profilers_stand_alone(path: Path) -> None:
    for name in imported_names(path):
        assert name.split(".")[0] not in {"nat_deploy", *TORCH}, f"{path.relative_to(ROOT)} must not import {name}"


IMPORT_ALL = """
import importlib, pkgutil, sys

package, *blocked = sys.argv[1:]

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
module = importlib.import_module(package)
for found in pkgutil.walk_packages(getattr(module, "__path__", []), package + "."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""


def test_the_command_line_begins_without_what_few_commands_need() -> None:
    """These take longer to import than all the rest, and every command would wait for them."""
    slow = ("torchvision", "torch._dynamo", "sklearn", "xgboost", "pymoo", "moocore", "onnxruntime", "asyncssh")
    program = f"import sys, nat_deploy.cli.app, nat_deploy.walk; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("package", "blocked"),
    [
        ("nat_deploy.errors", (*TORCH, "numpy")),
        ("nat_deploy.files", (*TORCH, "numpy")),
        ("nat_deploy.spaces", (*TORCH, "onnx", "profilers")),
        ("nat_deploy.onnx_graphs", tuple(TORCH)),
        ("nat_deploy.predictors", tuple(TORCH)),
        ("nat_deploy.conversion", (*TORCH, "openvino", "ai_edge_litert", "executorch")),
        ("profilers", (*TORCH, "nat_deploy", "onnx")),
    ],
)
def test_imports_with_torch_blocked(package: str, blocked: tuple[str, ...]) -> None:
    place = ROOT.joinpath(*package.split("."))
    if not place.is_dir() and not place.with_suffix(".py").exists():
        pytest.skip(f"{package} is not there")
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, package, *blocked], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr
