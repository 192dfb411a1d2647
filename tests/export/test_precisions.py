"""Exports in fp16 and int8, and of models that take pixels: from a trained subnet to files that are right, or to nothing."""

import importlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from nat_deploy.data import Normalisation
from nat_deploy.errors import InputError, ParityError
from nat_deploy.export import export_subnet, load_sidecar, reference_logits, run_model
from nat_deploy.export.inference import run_node_by_node
from nat_deploy.export.preprocessing import from_pixels, to_pixels
from nat_deploy.export.quantisation import Damage
from nat_deploy.spaces import make_space
from nat_deploy.spaces.subnet_file import SubnetFile
from nat_deploy.supernets import Subnet


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "decoded"


def test_fp16_is_smaller_and_near(trained, tmp_path):
    fp32 = export_subnet(trained, tmp_path / "fp32.onnx")
    fp16 = export_subnet(trained, tmp_path / "fp16.onnx", precision="fp16")
    assert fp16.sidecar.num_bytes < 0.6 * fp32.sidecar.num_bytes
    assert 1e-5 < fp16.parity.relative_error < 2e-2
    assert fp16.sidecar.precision == "fp16"
    assert load_sidecar(fp16.model) == fp16.sidecar
    tensors = onnx.load(fp16.model).graph.initializer
    assert {tensor.data_type for tensor in tensors} == {TensorProto.FLOAT16}


@pytest.mark.parametrize("form", ["onnxruntime", "tensorrt"])
def test_int8_is_smaller_and_tells_what_it_cost(form, trained, flowers_dir, tmp_path, cache):
    fp32 = export_subnet(trained, tmp_path / "fp32.onnx")
    report = export_subnet(
        trained,
        tmp_path / "int8.onnx",
        precision="int8",
        calibrate=flowers_dir,
        max_drop=100.0,
        int8_form=form,
        num_calibration_images=64,
        cache_dir=cache,
    )
    quantisation = report.sidecar.quantisation
    assert quantisation is not None
    assert quantisation.form == form
    assert quantisation.drop_points == pytest.approx(quantisation.fp32_top1_percent - quantisation.top1_percent)
    assert report.sidecar.num_bytes < (0.5 if form == "onnxruntime" else 0.8) * fp32.sidecar.num_bytes
    assert report.parity.top1_agreement >= 0.8
    assert load_sidecar(report.model) == report.sidecar
    session = onnxruntime.InferenceSession(report.model, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["natdeploy.precision"] == "int8"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_model_that_takes_pixels(precision, trained, trained_subnet, tmp_path, rng):
    normalisation = Normalisation(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    report = export_subnet(
        trained, tmp_path / "pixels.onnx", precision=precision, preprocessing=True, normalisation=normalisation
    )
    pixels = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    white = (np.float32(1) - normalisation.mean) / normalisation.std
    assert from_pixels(np.full((1, 2, 2, 3), 255, np.uint8), normalisation)[0, :, 0, 0] == pytest.approx(white, rel=1e-5)
    expected = reference_logits(trained_subnet, from_pixels(pixels, normalisation))
    actual = run_model(report.model, pixels)
    assert np.linalg.norm(actual - expected) <= (1e-4 if precision == "fp32" else 2e-2) * np.linalg.norm(expected)
    metadata = {entry.key: entry.value for entry in onnx.load(report.model).metadata_props}
    described = json.loads(metadata["natdeploy.preprocessing"])
    assert (described["layout"], described["type"], described["included"]) == ("NHWC", "uint8", True)
    assert report.sidecar.preprocessing


def test_pixels_come_back(rng):
    normalisation = Normalisation()
    pixels = rng.integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
    assert np.array_equal(to_pixels(from_pixels(pixels, normalisation), normalisation), pixels)
    assert to_pixels(np.full((1, 3, 1, 1), 100, np.float32), normalisation).ravel().tolist() == [255] * 3


def test_int8_that_loses_too_much_leaves_nothing(trained, flowers_dir, tmp_path, cache, monkeypatch):
    lost = Damage(drop_points=5.0, share_far=0.0)
    monkeypatch.setattr("nat_deploy.export.quantisation.Int8Search.damage", lambda self, q: lost)
    monkeypatch.setattr("nat_deploy.export.quantisation.Int8Search.ranked", lambda self, q, layers: list(layers))
    with pytest.raises(ParityError, match="raise --max-drop"):
        export_subnet(trained, tmp_path / "x.onnx", precision="int8", calibrate=flowers_dir, cache_dir=cache)
    assert not list(tmp_path.iterdir())


def test_an_int8_graph_that_computes_something_else_is_not_kept(trained, flowers_dir, tmp_path, cache, monkeypatch):
    """The ranges are found for the right weights; the model gets wrong ones."""
    true_weights = Subnet.numpy_weights
    calls = []

    def wrong_weights(subnet: Subnet) -> dict[str, np.ndarray]:
        calls.append(None)
        return {k: -v if "projection.weight" in k else v for k, v in true_weights(subnet).items()}

    monkeypatch.setattr(Subnet, "numpy_weights", wrong_weights)
    with pytest.raises(ParityError, match="the export was not kept"):
        export_subnet(trained, tmp_path / "x.onnx", precision="int8", calibrate=flowers_dir, cache_dir=cache, max_drop=100.0)
    assert calls
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"precision": "int8"}, "add --calibrate DATA"),
        ({"precision": "int4"}, "must be one of fp32, fp16, int8, but it is 'int4'"),
        ({"precision": "fp16", "fold_batch_norm": False}, "must be folded in fp16"),
        ({"max_drop": -1.0}, "at least 0, but it is -1"),
        ({"max_drop": float("nan")}, "at least 0, but it is nan"),
    ],
)
def test_wrong_use_is_refused_before_the_work(arguments, sentence, tmp_path):
    nobody = SubnetFile(architecture=make_space("ofa-mbv3-w0.5").smallest(), num_classes=5)  # without weights
    with pytest.raises(InputError, match=sentence):
        export_subnet(nobody, tmp_path / "x.onnx", **arguments)


def test_images_of_other_classes_cannot_judge_int8(trained, cifar10_dir, tmp_path, cache):
    with pytest.raises(InputError, match="network's 5 classes, but 'cifar10' has 10"):
        export_subnet(trained, tmp_path / "x.onnx", precision="int8", calibrate=cifar10_dir, cache_dir=cache)
    assert not list(tmp_path.iterdir())


def test_an_int8_graph_that_rounds_otherwise_than_torch_is_not_kept(trained, flowers_dir, tmp_path, cache, monkeypatch):
    """A scale that is half as large again, as a mistake in the export would leave one."""

    def run_tampered(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
        scales = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name in scales)
        wrong = onnx.ModelProto()
        wrong.CopyFrom(model)
        (copied,) = (found for found in wrong.graph.initializer if found.name == tensor.name)
        copied.CopyFrom(onnx.numpy_helper.from_array(1.5 * onnx.numpy_helper.to_array(tensor), tensor.name))
        readers = [node for node in wrong.graph.node if node.op_type == "DequantizeLinear" and node.input[1] == tensor.name]
        wrong.graph.initializer.append(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), "right"))
        for node in readers:
            node.input[1] = "right"
        return run_node_by_node(wrong, images)

    monkeypatch.setattr(importlib.import_module("nat_deploy.export.export_subnet"), "run_node_by_node", run_tampered)
    with pytest.raises(ParityError, match="the export was not kept"):
        export_subnet(
            trained,
            tmp_path / "int8.onnx",
            precision="int8",
            calibrate=flowers_dir,
            max_drop=100.0,
            num_calibration_images=64,
            cache_dir=cache,
        )
    assert not (tmp_path / "int8.onnx").exists()
