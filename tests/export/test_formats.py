"""The same subnet as files of other runtimes."""

from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import FileFormatError, InputError, MissingError, ParityError
from nat_deploy.export import export_subnet, find_format, load_sidecar, reference_logits, run_model
from nat_deploy.spaces.subnet_file import SubnetFile
from nat_deploy.supernets import save_weights
from tests.export.test_export_subnet import SPACE, calibrated_subnet, perturb_projections

SUFFIXES = {"openvino": ".xml", "litert": ".tflite", "executorch": ".pte"}
PACKAGES = {"openvino": "openvino", "litert": "ai_edge_litert", "executorch": "executorch"}


@pytest.fixture(params=SUFFIXES)
def name(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(PACKAGES[request.param])
    return request.param


@pytest.fixture
def out(name: str, tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / f"subnet{SUFFIXES[name]}"


@pytest.fixture
def subnet_file(tmp_path: Path) -> SubnetFile:
    save_weights(tmp_path / "subnet.safetensors", calibrated_subnet().state_dict(), {})
    return SubnetFile(architecture=SPACE.smallest(), num_classes=5, weights=tmp_path / "subnet.safetensors")


def test_the_file_computes_what_the_network_computes(name, out, subnet_file, rng):
    report = export_subnet(subnet_file, out, format=name, num_images=4)
    assert report.parity.relative_error <= 1e-5
    assert report.parity.runtime.startswith(name)
    images = rng.standard_normal((3, 3, 32, 32), dtype=np.float32)
    expected = reference_logits(calibrated_subnet(), images)
    actual = run_model(out, images, find_format(name))
    assert np.linalg.norm(actual - expected) <= 1e-5 * np.linalg.norm(expected)


def test_the_sidecar_says_how_to_feed_it(name, out, subnet_file):
    report = export_subnet(subnet_file, out, format=name, num_images=2)
    sidecar = load_sidecar(out)
    assert sidecar == report.sidecar
    assert (sidecar.model_format, sidecar.num_classes) == (name, 5)
    assert (sidecar.layout, sidecar.batch_size) == {
        "openvino": ("NCHW", None),
        "litert": ("NHWC", None),
        "executorch": ("NCHW", 1),
    }[name]
    files = {path for path in out.parent.iterdir() if path.suffix != ".json"}
    assert files == {out, *(out.with_name(part.name) for part in sidecar.parts)}
    assert sidecar.num_bytes == sum(path.stat().st_size for path in files)


def test_batch_norms_are_folded_where_the_format_has_none(name, out, subnet_file):
    report = export_subnet(subnet_file, out, format=name, num_images=2, fold_batch_norm=False)
    assert report.sidecar.fold_batch_norm is (name != "openvino")
    assert report.parity.relative_error <= 1e-5


def test_a_file_that_computes_something_else_is_not_kept(name, out, subnet_file, monkeypatch):
    perturb_projections(monkeypatch)
    with pytest.raises(ParityError, match="2 of 2 images differ more"):
        export_subnet(subnet_file, out, format=name, num_images=2)
    assert list(out.parent.iterdir()) == []


def test_a_format_whose_package_is_missing_names_the_extra(subnet_file, tmp_path, monkeypatch):
    monkeypatch.setattr("nat_deploy.export.formats.find_spec", lambda package: None)
    for name, suffix in SUFFIXES.items():
        with pytest.raises(MissingError, match=rf"package '{PACKAGES[name]}', .* pip install 'natdeploy\[{name}\]'"):
            export_subnet(subnet_file, tmp_path / f"subnet{suffix}", format=name)


@pytest.mark.parametrize("arguments", [{"precision": "int8"}, {"precision": "fp16"}, {"preprocessing": True}])
@pytest.mark.parametrize("plain", ["litert", "executorch"])
def test_what_a_format_cannot_hold_is_refused_before_the_work(plain, arguments, subnet_file, tmp_path):
    pytest.importorskip(PACKAGES[plain])
    with pytest.raises(InputError, match=f"format '{plain}' holds float32 networks alone so far, but p"):
        export_subnet(subnet_file, tmp_path / "subnet", format=plain, **arguments)


class TestOpenVino:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("openvino")

    def test_weights_lie_beside_it_and_belong_to_it(self, subnet_file, tmp_path):
        report = export_subnet(subnet_file, tmp_path / "subnet.xml", format="openvino", num_images=2)
        weights = tmp_path / "subnet.bin"
        assert [part.name for part in report.sidecar.parts] == ["subnet.bin"]
        weights.write_bytes(weights.read_bytes()[:-4] + b"1234")
        with pytest.raises(FileFormatError, match=r"subnet\.bin' .* it has changed"):
            load_sidecar(report.model)
        weights.unlink()
        with pytest.raises(MissingError, match=r"subnet\.bin"):
            load_sidecar(report.model)

    def test_it_takes_pixels_where_that_is_asked(self, subnet_file, tmp_path):
        report = export_subnet(subnet_file, tmp_path / "subnet.xml", format="openvino", preprocessing=True)
        assert report.parity.relative_error <= 1e-5
        assert report.sidecar.preprocessing

    def test_another_ending_is_refused_because_the_weights_would_not_be_found(self, subnet_file, tmp_path):
        with pytest.raises(InputError, match=r"must end in \.xml, because \.bin of the same name"):
            export_subnet(subnet_file, tmp_path / "subnet.openvino", format="openvino")
