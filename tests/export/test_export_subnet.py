"""From a subnet file to a model and its sidecar, or to nothing at all."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from nat_deploy.data import Normalisation
from nat_deploy.errors import ArchitectureError, FileFormatError, InputError, MissingError, ParityError, WorkError
from nat_deploy.export import export_subnet, load_sidecar, reference_logits, run_model
from nat_deploy.onnx_graphs import draw_weights
from nat_deploy.spaces import SMALL_IMAGE_RESOLUTIONS, OfaMobileNetV3Space
from nat_deploy.spaces.subnet_file import ObjectiveValue, SubnetFile
from nat_deploy.supernets import MBConvSupernet, Subnet, calibrate_batch_norm, load_weights, save_supernet, save_weights

SPACE = OfaMobileNetV3Space(0.35, SMALL_IMAGE_RESOLUTIONS, 5)
CLASSES = ("ant", "bee", "cat", "dog", "eel")


def calibrated_subnet(seed: int = 0) -> Subnet:
    rng = np.random.default_rng(seed)
    blocks = SPACE.blocks(SPACE.smallest())
    subnet = Subnet(blocks)
    subnet.load_weights({name: torch.from_numpy(values) for name, values in draw_weights(blocks, rng).items()})
    return calibrate_batch_norm(subnet, [torch.from_numpy(rng.standard_normal((32, 3, 32, 32), dtype=np.float32))])


@pytest.fixture
def subnet_file(tmp_path: Path) -> SubnetFile:
    weights = tmp_path / "subnet.safetensors"
    save_weights(weights, calibrated_subnet().state_dict(), {"class_names": json.dumps(CLASSES)})
    latency = ObjectiveValue(name="latency_ms", value=3.0, low=2.9, high=3.2, source="measured", target="cpu.onnxruntime")
    return SubnetFile(architecture=SPACE.smallest(), num_classes=5, weights=weights, objectives=(latency,))


@pytest.fixture
def supernet_path(tmp_path: Path) -> Path:
    path = tmp_path / "supernet.safetensors"
    supernet = MBConvSupernet(SPACE, torch.Generator().manual_seed(0)).eval()
    save_supernet(path, supernet, class_names=CLASSES, trained_on="nothing")
    return path


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    for name in CLASSES:
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((32, 32)).save(tmp_path / "images" / name / f"{index}.png")
    return tmp_path / "images"


def test_the_model_computes_what_the_network_computes(subnet_file, tmp_path, rng):
    report = export_subnet(subnet_file, tmp_path / "subnet.onnx", num_images=4)
    assert report.parity.relative_error <= 1e-5
    assert report.parity.top1_agreement == 1
    assert report.parity.spread > 0.01
    images = rng.standard_normal((3, 3, 32, 32), dtype=np.float32)
    expected = reference_logits(calibrated_subnet(), images)
    actual = run_model(report.model, images)
    assert np.linalg.norm(actual - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("fold", [True, False])
def test_folding_changes_the_file_and_not_the_numbers(fold, subnet_file, tmp_path):
    report = export_subnet(subnet_file, tmp_path / "subnet.onnx", num_images=4, fold_batch_norm=fold)
    assert report.parity.relative_error <= 1e-5
    assert report.sidecar.fold_batch_norm is fold
    assert (b"BatchNormalization" in report.model.read_bytes()) is not fold


def test_onnxruntime_reads_the_metadata(subnet_file, tmp_path):
    normalisation = Normalisation(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    report = export_subnet(subnet_file, tmp_path / "subnet.onnx", num_images=2, normalisation=normalisation)
    session = onnxruntime.InferenceSession(report.model, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["natdeploy.space"] == "ofa-mbv3-w0.35"
    assert json.loads(metadata["natdeploy.class_names"]) == list(CLASSES)
    assert metadata["natdeploy.weights_sha256"] == report.sidecar.weights_sha256
    assert json.loads(metadata["natdeploy.architecture"])["resolution"] == 32
    assert json.loads(metadata["natdeploy.preprocessing"]) == {
        "resolution": 32,
        "channels": "RGB",
        "layout": "NCHW",
        "type": "float32",
        "included": False,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
    }
    assert session.get_inputs()[0].shape == ["batch", 3, 32, 32]


def test_the_sidecar_is_read_back(subnet_file, tmp_path):
    report = export_subnet(subnet_file, tmp_path / "subnet.onnx", num_images=2)
    assert report.sidecar_file == tmp_path / "subnet.onnx.json"
    sidecar = load_sidecar(report.model)
    assert sidecar == report.sidecar
    assert sidecar.architecture == subnet_file.architecture
    assert sidecar.objectives == subnet_file.objectives
    assert sidecar.class_names == CLASSES
    assert sidecar.normalisation == Normalisation()
    assert json.loads(report.sidecar_file.read_text())["format"] == 1


def test_a_changed_model_is_noticed(subnet_file, tmp_path):
    report = export_subnet(subnet_file, tmp_path / "subnet.onnx", num_images=2)
    report.model.write_bytes(report.model.read_bytes() + b"\0")
    with pytest.raises(FileFormatError, match="it has changed"):
        load_sidecar(report.model)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": 2}, "format"),
        ({"format": True}, "format"),
        ({"surprise": 1}, "surprise"),
        ({"num_bytes": "many"}, "num_bytes"),
        ({"parity": None}, "parity"),
        ({"objectives": [{"name": "latency_ms", "value": 1.0, "source": "guessed"}]}, r"objectives\.0\.source"),
    ],
)
def test_a_broken_sidecar_is_refused_by_key(change, named, subnet_file, tmp_path):
    report = export_subnet(subnet_file, tmp_path / "subnet.onnx", num_images=2)
    report.sidecar_file.write_text(json.dumps(json.loads(report.sidecar_file.read_text()) | change))
    with pytest.raises(FileFormatError, match=named):
        load_sidecar(report.model)


def test_weights_are_cut_out_of_a_supernet_and_calibrated(supernet_path, image_folder, tmp_path):
    report = export_subnet(
        SubnetFile(architecture=SPACE.smallest(), num_classes=5),
        tmp_path / "subnet.onnx",
        weights=supernet_path,
        calibrate=image_folder,
        cache_dir=tmp_path / "cache",
        num_images=4,
        num_calibration_images=32,
    )
    assert report.sidecar.calibrated_on == report.parity.images
    assert str(supernet_path) in report.sidecar.weights
    assert report.sidecar.class_names == CLASSES
    assert report.sidecar.normalisation != Normalisation()
    assert report.parity.relative_error <= 1e-4


def test_an_untrained_network_is_refused_and_nothing_is_kept(supernet_path, tmp_path):
    """Statistics as they are: the logits of fresh weights are about 1e-10, and every model would agree with them."""
    before = set(tmp_path.iterdir())
    with pytest.raises(ParityError, match="logits must differ between images and classes"):
        export_subnet(
            SubnetFile(architecture=SPACE.smallest(), num_classes=5),
            tmp_path / "subnet.onnx",
            weights=supernet_path,
            num_images=2,
        )
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("previous", [None, b"an older export"])
def test_a_model_that_computes_something_else_is_not_kept(previous, subnet_file, tmp_path, monkeypatch):
    out = tmp_path / "subnet.onnx"
    if previous is not None:
        out.write_bytes(previous)
    before = set(tmp_path.iterdir())
    perturb_projections(monkeypatch)
    with pytest.raises(ParityError, match="2 of 2 images differ more"):
        export_subnet(subnet_file, out, num_images=2)
    assert set(tmp_path.iterdir()) == before
    assert previous is None or out.read_bytes() == previous


def perturb_projections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's weights stay, those that go into the model are wrong by one in a thousand."""
    true_weights = Subnet.numpy_weights

    def wrong_weights(subnet: Subnet) -> dict[str, np.ndarray]:
        return {
            name: np.float32(1.001) * values if "projection.weight" in name else values
            for name, values in true_weights(subnet).items()
        }

    monkeypatch.setattr(Subnet, "numpy_weights", wrong_weights)


@pytest.mark.parametrize("writes_before", [0, 1], ids=["model", "sidecar"])
def test_a_full_disk_leaves_nothing(writes_before, subnet_file, tmp_path, monkeypatch):
    before = set(tmp_path.iterdir())
    outcomes = iter([None] * writes_before)

    def fail_when_used_up(handle: int) -> None:
        try:
            next(outcomes)
        except StopIteration:
            raise OSError(errno.ENOSPC, "No space left on device") from None

    monkeypatch.setattr(os, "fsync", fail_when_used_up)
    with pytest.raises(WorkError, match="the disk is full"):
        export_subnet(subnet_file, tmp_path / "subnet.onnx", num_images=2)
    assert set(tmp_path.iterdir()) == before


def test_without_weights_the_sentence_says_where_to_get_them(tmp_path):
    with pytest.raises(MissingError, match="add --weights SUPERNET"):
        export_subnet(SubnetFile(architecture=SPACE.smallest(), num_classes=5), tmp_path / "subnet.onnx")


def test_weights_of_another_architecture_are_refused(subnet_file, tmp_path):
    other = SubnetFile(architecture=SPACE.largest(), num_classes=5, weights=subnet_file.weights)
    with pytest.raises(FileFormatError, match="missing"):
        export_subnet(other, tmp_path / "subnet.onnx")


def test_a_supernet_of_other_classes_is_refused(supernet_path, tmp_path):
    other = SubnetFile(architecture=SPACE.smallest(), num_classes=7)
    with pytest.raises(ArchitectureError, match=r"with 7 classes, but .* with 5"):
        export_subnet(other, tmp_path / "subnet.onnx", weights=supernet_path)


def test_broken_metadata_of_weights_are_refused(subnet_file, tmp_path):
    save_weights(subnet_file.weights, load_weights(subnet_file.weights), {"normalisation": '{"mean": 3}'})
    with pytest.raises(FileFormatError, match="metadata normalisation of"):
        export_subnet(subnet_file, tmp_path / "subnet.onnx")


def test_class_names_of_other_classes_are_refused(subnet_file, tmp_path):
    save_weights(subnet_file.weights, load_weights(subnet_file.weights), {"class_names": '["ant", "bee"]'})
    with pytest.raises(FileFormatError, match="must be 5 names, but are 2"):
        export_subnet(subnet_file, tmp_path / "subnet.onnx")


@pytest.mark.parametrize("place", [".", "nowhere/subnet.onnx"])
def test_an_impossible_place_is_refused_before_the_work(place, subnet_file, tmp_path):
    with pytest.raises(InputError, match="must be a file in a folder that exists"):
        export_subnet(subnet_file, tmp_path / place)


@pytest.mark.parametrize("arguments", [{"num_images": 1}, {"num_calibration_images": 0}])
def test_too_few_images_are_refused(arguments, subnet_file, tmp_path):
    with pytest.raises(InputError, match="at least"):
        export_subnet(subnet_file, tmp_path / "subnet.onnx", **arguments)


def test_an_unknown_format_is_refused(subnet_file, tmp_path):
    with pytest.raises(InputError, match="format must be one of onnx, openvino"):
        export_subnet(subnet_file, tmp_path / "subnet.tflite", format="tflite")
