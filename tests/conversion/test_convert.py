"""Files of other runtimes compute what ONNX Runtime computes."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from nat_deploy.conversion import convert, write_openvino
from nat_deploy.errors import MissingError
from nat_deploy.onnx_graphs import build_graph, build_identity_graph
from nat_deploy.spaces import Block, make_space
from profilers.runtimes import model_suffix, open_runtime

PACKAGES = {"litert": "ai_edge_litert", "executorch": "executorch", "openvino": "openvino"}
WRITTEN = ("litert", "executorch")

STEM = Block(kind="conv", in_channels=3, out_channels=8, in_size=8, stride=2, kernel_size=3, activation="hswish")
MBCONV = Block(
    kind="mbconv", in_channels=8, out_channels=8, in_size=9, mid_channels=16, kernel_size=3, expanded=True, activation="relu"
)
BLOCKS = (
    STEM,
    replace(STEM, stride=1, kernel_size=1, activation="none"),
    # Strides are where paddings differ: over even sizes the runtimes' own is lopsided.
    *(replace(MBCONV, kernel_size=kernel, stride=2, in_size=size) for kernel in (3, 5, 7) for size in (8, 9)),
    replace(MBCONV, kernel_size=7, in_size=4, shortcut=True),
    replace(MBCONV, mid_channels=8, expanded=False, activation="relu6", se_channels=8),
    replace(MBCONV, activation="hswish", se_channels=8, shortcut=True),
    Block(kind="pool", in_channels=8, out_channels=8, in_size=5),
    Block(kind="linear", in_channels=8, out_channels=3, in_size=1, activation="hswish"),
    Block(kind="linear", in_channels=8, out_channels=3, in_size=1, bias=True, activation="relu"),
)


@pytest.fixture(params=WRITTEN)
def runtime(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(PACKAGES[request.param])
    return request.param


def run(runtime: str, model: onnx.ModelProto, x: NDArray[np.float32], folder: Path) -> NDArray[np.float32]:
    """The output for (N, C, H, W) or (N, C), in the same order, whatever the runtime's own is."""
    path = folder / f"model{model_suffix(runtime)}"
    path.write_bytes(convert(model, path.suffix))
    turned = runtime == "litert"
    with open_runtime(runtime).load(path, batch_size=len(x)) as session:
        (name,) = session.inputs
        given = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if turned and x.ndim == 4 else x
        (output,) = session.infer({name: given}).values()
    return output.transpose(0, 3, 1, 2) if turned and output.ndim == 4 else output


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.key)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_block_computes_the_same(runtime, block, batch_size, rng, tmp_path):
    model = build_graph([block], rng=rng, batch_size=batch_size)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = rng.standard_normal(shape, dtype=np.float32)
    expected = run("onnxruntime", model, x, tmp_path)
    assert expected.std() > 0.01
    np.testing.assert_allclose(run(runtime, model, x, tmp_path), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("resolution", [36, 44])
def test_a_network_computes_the_same(runtime, resolution, rng, tmp_path):
    space = make_space("ofa-mbv3-w0.35", resolutions=(resolution,), num_classes=10)
    model = build_graph(space.blocks(space.decode(space.sample(rng, 1)[0])), rng=rng)
    x = rng.standard_normal((1, 3, resolution, resolution), dtype=np.float32)
    expected, actual = (run(name, model, x, tmp_path) for name in ("onnxruntime", runtime))
    assert np.linalg.norm(actual - expected) <= 1e-5 * np.linalg.norm(expected)


def test_a_free_batch_stays_free_in_litert(rng, tmp_path):
    pytest.importorskip("ai_edge_litert")
    model = build_graph([STEM], rng=rng, batch_size=None)
    for size in (1, 3):
        x = rng.standard_normal((size, 3, 8, 8), dtype=np.float32)
        expected, actual = (run(name, model, x, tmp_path) for name in ("onnxruntime", "litert"))
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_a_graph_that_does_nothing_is_written_too(runtime, tmp_path):
    """Its time is the overhead of a run."""
    x = np.float32([7.0])
    np.testing.assert_array_equal(run(runtime, build_identity_graph((1,)), x, tmp_path), x)


def test_the_same_model_gives_the_same_bytes(runtime, tmp_path):
    """Results are kept under the hash of the file, and a killed profile finds them again."""
    model = build_graph([MBCONV], rng=np.random.default_rng(0))
    assert convert(model, model_suffix(runtime)) == convert(model, model_suffix(runtime))


def test_weights_are_written_exactly_once(runtime):
    model = build_graph([replace(MBCONV, mid_channels=1024)], rng=np.random.default_rng(0))
    size = len(convert(model, ".onnx"))
    assert size < len(convert(model, model_suffix(runtime))) < 1.1 * size + 8192


def test_litert_files_are_aligned(rng):
    """Sixteen bytes, as the schema asks: a processor may not read floats from anywhere."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    content = convert(build_graph([MBCONV], rng=rng), ".tflite")
    model = schema.Model.GetRootAs(content)
    starts = [
        model.Buffers(number)._tab.Vector(model.Buffers(number)._tab.Offset(4)) for number in range(1, model.BuffersLength())
    ]
    assert len(starts) == 6
    assert [start % 16 for start in starts] == [0] * len(starts)


def test_openvino_keeps_float32(rng, tmp_path):
    pytest.importorskip("openvino")
    model = build_graph([STEM, replace(MBCONV, in_size=4)], rng=rng, batch_size=None)
    for suffix, content in zip((".xml", ".bin"), write_openvino(model), strict=True):
        (tmp_path / f"model{suffix}").write_bytes(content)
    x = rng.standard_normal((2, 3, 8, 8), dtype=np.float32)
    with open_runtime("openvino").load(tmp_path / "model.xml", batch_size=2) as session:
        (actual,) = session.infer({"images": x}).values()
    expected = run("onnxruntime", model, x, tmp_path)
    assert np.linalg.norm(actual - expected) <= 1e-5 * np.linalg.norm(expected)  # float16 weights would give 1e-4 and more


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_says_what_to_install(name, rng, monkeypatch):
    package = PACKAGES[name]
    for module in [package, *(loaded for loaded in sys.modules if loaded.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    model = build_graph([STEM], rng=rng)
    with pytest.raises(MissingError, match=rf"files need the Python package .*pip install 'natdeploy\[{name}\]'"):
        write_openvino(model) if name == "openvino" else convert(model, model_suffix(name))
