"""The names of `import nat_deploy`, and the example that walks with them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nat_deploy

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "walk.py"


def test_every_exported_name_is_there() -> None:
    for name in nat_deploy.__all__:
        found = getattr(nat_deploy, name)
        assert found.__doc__, f"{name} says nothing about itself"
        assert name in dir(nat_deploy)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="serach_network"):
        nat_deploy.serach_network  # noqa: B018


def test_import_is_light(tmp_path: Path) -> None:
    program = "import sys, nat_deploy; print([m for m in ('torch', 'numpy', 'onnx', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_the_example_walks_to_a_verified_model(tmp_path: Path) -> None:
    from tests.docs.pictures import write_pictures

    write_pictures(tmp_path / "my_photos", per_class=8)
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    environment.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(
        [sys.executable, EXAMPLE, "my_photos", "20ms"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    first, second, third, last = done.stdout.splitlines()
    assert first.endswith("12 networks measured")
    assert "ms measured" in second
    assert third.startswith("run/model.onnx: ")
    assert (tmp_path / last).read_text(encoding="utf-8").startswith("<!doctype html>")
    sidecar = json.loads((tmp_path / "run" / "model.onnx.json").read_text(encoding="utf-8"))
    assert sidecar["parity"]["top1_agreement"] == 1.0
