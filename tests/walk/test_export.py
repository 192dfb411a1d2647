"""Several files in one call: names, one failure beside the others, and engines of several devices from one ONNX model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nat_deploy.cli import app
from nat_deploy.errors import InputError, NatDeployError
from nat_deploy.export import ExportReport, QuantisationReport, TrainingReport, load_sidecar
from nat_deploy.export.quantisation import Int8Cost
from nat_deploy.spaces.subnet_file import SubnetFile, save_subnet
from nat_deploy.walk import ExportOptions, export_files
from profilers.errors import TransportError
from tests.export.test_engine import FakeTransport
from tests.export.test_export_subnet import subnet_file  # noqa: F401 - a fixture

DEVICES = """
[devices.jetson]
transport = "ssh"
host = "jetson.local"
runtime = "tensorrt"
[devices.rack]
transport = "ssh"
host = "rack.local"
runtime = "tensorrt"
"""


@pytest.fixture
def subnet(subnet_file: SubnetFile, tmp_path: Path) -> Path:  # noqa: F811
    path = tmp_path / "net.json"
    save_subnet(path, subnet_file)
    return path


@pytest.fixture
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeTransport]:
    """Two devices that build engines, the second of which cannot be reached."""
    (tmp_path / "devices.toml").write_text(DEVICES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    found = {"jetson": FakeTransport(), "rack": FakeTransport(error=TransportError("the rack is off."))}
    monkeypatch.setattr("nat_deploy.walk.export.open_device", lambda device: found[device.name])
    return found


def test_one_file_is_named_as_ever(subnet: Path, tmp_path: Path) -> None:
    (only,) = export_files(subnet)
    assert only.file == tmp_path / "net.onnx"
    (named,) = export_files(subnet, tmp_path / "other.onnx", precisions=["fp16", "fp16"])
    assert named.file == tmp_path / "other.onnx"
    assert load_sidecar(named.file).precision == "fp16"


def test_several_precisions_and_formats(subnet: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    exported = export_files(
        subnet,
        tmp_path / "models",
        formats=["onnx", "openvino"],
        precisions=["fp32", "fp16"],
        on_step=lambda step, done, total: steps.append(step),
    )
    names = ["net.fp32.onnx", "net.fp16.onnx", "net.fp32.xml", "net.fp16.xml"]
    assert [one.file for one in exported] == [tmp_path / "models" / name for name in names]
    for one in exported:
        sidecar = load_sidecar(one.file)
        assert one.report is not None
        assert sidecar == one.report.sidecar
        assert (sidecar.model_format, sidecar.precision) == (one.variant.format, one.variant.precision)


def test_one_that_fails_does_not_stop_the_others(subnet: Path, tmp_path: Path) -> None:
    first, second, third = export_files(subnet, precisions=["fp32", "int8", "fp16"])
    assert isinstance(second.error, NatDeployError)
    assert "add --calibrate DATA" in str(second.error)
    assert second.report is None
    assert not second.file.exists()
    for one in (first, third):
        assert one.error is None
        assert load_sidecar(one.file).precision == one.variant.precision
    with pytest.raises(InputError, match="add --calibrate DATA"):  # alone, it is an error of the call
        export_files(subnet, precisions=["int8"])


def test_engines_of_several_devices(
    subnet: Path, tmp_path: Path, boards: dict[str, FakeTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    import nat_deploy.walk.export as module

    exported_to: list[str] = []
    export_subnet = module.export_subnet

    def counted(content: SubnetFile, out: Path, **named: Any) -> Any:
        exported_to.append(f"{named['precision']} {named['int8_form']}")
        return export_subnet(content, out, **named)

    monkeypatch.setattr(module, "export_subnet", counted)
    boards["rack"].error = None
    exported = export_files(subnet, formats=["trt"], precisions=["fp32", "fp16"], devices=["jetson", "rack"])
    names = ["net.jetson.fp32.engine", "net.rack.fp32.engine", "net.jetson.fp16.engine", "net.rack.fp16.engine"]
    assert [one.file.name for one in exported] == names
    assert all(load_sidecar(tmp_path / name).engine is not None for name in names)
    assert exported_to == ["fp32 tensorrt", "fp16 tensorrt"], "one ONNX model for all devices of a precision"
    assert [request.precision for request in boards["rack"].requests] == ["fp32", "fp16"]


def test_devices_do_not_multiply_models(subnet: Path, boards: dict[str, FakeTransport]) -> None:
    exported = export_files(subnet, formats=["onnx", "trt"], devices=["jetson", "rack"])
    assert [one.file.name for one in exported] == ["net.fp32.onnx", "net.jetson.fp32.engine", "net.rack.fp32.engine"]
    assert [one.error is None for one in exported] == [True, True, False]
    assert "the rack is off" in str(exported[2].error)


@pytest.mark.parametrize("out", ["models.onnx", "file"])
def test_several_files_need_a_folder(out: str, subnet: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="must be a folder, because 2 files are asked for"):
        export_files(subnet, tmp_path / out, precisions=["fp32", "fp16"])


def test_training_needs_int8(subnet: Path) -> None:
    with pytest.raises(InputError, match="--qat-epochs goes with --precision int8, but fp16 came"):
        export_files(subnet, precisions=["fp16"], options=ExportOptions(qat_epochs=2))


def test_the_command_tells_of_all(subnet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "export",
        str(subnet),
        "--precision",
        "fp32",
        "--precision",
        "int8",
        "--precision",
        "fp16",
        "--out",
        str(tmp_path / "m"),
    ]
    with pytest.raises(SystemExit) as exited:
        app.main([*arguments, "--json"])
    assert exited.value.code == 1
    told = capsys.readouterr()
    models = json.loads(told.out)["models"]
    assert [(model["precision"], model["model"] is None, model["error"] is None) for model in models] == [
        ("fp32", False, True),
        ("int8", True, False),
        ("fp16", False, True),
    ]
    assert "net.int8.onnx: int8 needs images" in told.err.splitlines()[-1]
    with pytest.raises(SystemExit) as exited:
        app.main(arguments)
    assert exited.value.code == 1
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["file", "MB"]
    assert [Path(row.split()[0]).name for row in rows] == ["net.fp32.onnx", "net.int8.onnx", "net.fp16.onnx"]
    assert rows[1].split()[1:] == ["failed"]
    with pytest.raises(SystemExit) as exited:
        app.main([*arguments[:4], "--out", str(tmp_path / "one.onnx"), "--json"])
    assert exited.value.code == 0
    assert json.loads(capsys.readouterr().out)["model"] == str(tmp_path / "one.onnx")


def test_the_command_asks_for_training_and_tells_what_it_brought(
    subnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import nat_deploy.walk.export as module

    training = TrainingReport(
        num_epochs=3,
        best_epoch=2,
        drop_before=5.5,
        drop_after=0.25,
        post_training=Int8Cost(num_float_layers=4, drop_points=0.9),
        trained=Int8Cost(num_float_layers=0, drop_points=0.25),
        is_kept=True,
        reason="0 instead of 4 layers stay in float",
    )
    quantised = QuantisationReport(
        form="onnxruntime",
        calibration="mse",
        num_calibration_images=8,
        float_layers=(),
        num_layers=30,
        fp32_top1_percent=80.0,
        top1_percent=79.75,
        drop_points=0.25,
        num_validation_images=400,
        max_drop=1.0,
        training=training,
    )
    asked: list[Any] = []
    export_subnet = module.export_subnet

    def trained(content: SubnetFile, out: Path, **named: Any) -> ExportReport:
        asked.append((named["precision"], named["calibrate"], named["qat_epochs"]))
        report = export_subnet(content, out)
        return replace(report, sidecar=replace(report.sidecar, precision="int8", quantisation=quantised))

    monkeypatch.setattr(module, "export_subnet", trained)
    with pytest.raises(SystemExit) as exited:
        app.main(["export", str(subnet), "--precision", "int8", "--calibrate", "photos", "--qat-epochs", "3"])
    assert exited.value.code == 0
    assert asked == [("int8", "photos", 3)]
    told = capsys.readouterr().out
    assert "3 epochs of training in int8: with all layers in it +5.50 -> +0.25 points lost" in told
    assert "the trained weights are exported, because 0 instead of 4 layers stay in float" in told
