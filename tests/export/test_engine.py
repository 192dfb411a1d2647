"""Engines from exported subnets: with the real TensorRT-RTX where it is installed, and with a transport in memory."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nat_deploy.errors import DeviceError, InputError, MissingError, ParityError, WorkError
from nat_deploy.export import (
    ExportReport,
    check_engine_can_be_built,
    engine_device,
    export_engine,
    export_subnet,
    load_sidecar,
    run_model,
)
from nat_deploy.onnx_graphs import Quantisation, build_graph
from nat_deploy.profiling import open_device
from nat_deploy.spaces.subnet_file import SubnetFile
from nat_deploy.supernets import save_weights
from profilers.engine_build import EngineBuild, EngineRequest
from profilers.errors import RuntimeFailedError, RuntimeNotInstalledError, TransportError
from profilers.runtimes.base import file_sha256
from profilers.runtimes.tensorrt.engine_record import EngineRecord, read_record
from tests.export.test_export_subnet import SPACE, calibrated_subnet

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="needs TensorRT-RTX: pip install 'natdeploy[trt-rtx]'"
)
GPU = engine_device("trt", "gpu")


@pytest.fixture(autouse=True)
def own_device_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def exported(tmp_path: Path) -> ExportReport:
    weights = tmp_path / "subnet.safetensors"
    save_weights(weights, calibrated_subnet().state_dict(), {})
    subnet = SubnetFile(architecture=SPACE.smallest(), num_classes=5, weights=weights)
    return export_subnet(subnet, tmp_path / "subnet.onnx", num_images=2)


class FakeTransport:
    """A GPU whose engine is what it was told to write, and whose outputs are those of the ONNX model, scaled."""

    def __init__(self, *, scale: float | None = 1.0, error: Exception | None = None) -> None:
        self.scale, self.error = scale, error
        self.requests: list[EngineRequest] = []

    def check_builds(self, runtime: str) -> None:
        if self.error is not None:
            raise self.error

    def build_engine(
        self, request: EngineRequest, model: Path, engine: Path, *, inputs: Mapping[str, Any], **more: Any
    ) -> EngineBuild:
        self.check_builds(request.runtime)
        self.requests.append(request)
        engine.write_bytes(b"ftrt engine")
        record = EngineRecord(
            runtime="tensorrt",
            runtime_version="10.3.0",
            cuda="12.6",
            gpu="Orin",
            compute_capabilities=("8.7",),
            precision=request.precision,
            typing="strong",
            flags=(),
            tactic_sources=(),
            level=3,
            avg_timing_iterations=8,
            batch_size=request.batch_size,
            num_layers=None,
            build_s=1.0,
            model_sha256=file_sha256(model),
            engine_sha256=file_sha256(engine),
            num_bytes=11,
        )
        outputs = None if self.scale is None else {"logits": self.scale * run_model(model, inputs["images"])}
        return EngineBuild(record, outputs)


def test_an_engine_and_its_sidecar_belong_together(exported: ExportReport, tmp_path: Path) -> None:
    transport, out = FakeTransport(), tmp_path / "subnet.engine"
    report = export_engine(exported, out, format="trt", device=GPU, precision="fp16", batch_size=4, transport=transport)
    assert report.was_run
    assert out.read_bytes() == b"ftrt engine"
    assert transport.requests == [EngineRequest("tensorrt", "fp16", 4)]
    sidecar = load_sidecar(out)
    assert sidecar == report.sidecar
    assert (sidecar.model, sidecar.model_format, sidecar.weights_sha256) == (
        "subnet.engine",
        "trt",
        exported.sidecar.weights_sha256,
    )
    assert "tensorrt 10.3.0" in sidecar.parity.runtime
    assert sidecar.engine == read_record(out)  # what the device reads before it loads the engine


def test_an_engine_that_was_not_run_shows_the_comparison_of_its_onnx_model(exported: ExportReport, tmp_path: Path) -> None:
    transport = FakeTransport(scale=None)
    report = export_engine(exported, tmp_path / "a.engine", format="trt", device=GPU, transport=transport)
    assert not report.was_run
    assert report.sidecar.parity == exported.parity


@pytest.mark.parametrize(
    ("transport", "kind", "message"),
    [
        (FakeTransport(scale=1.1), ParityError, "16 of 16 images differ more"),
        (FakeTransport(error=RuntimeNotInstalledError("no TensorRT; install it.")), MissingError, "on device 'gpu': no TensorRT"),
        (FakeTransport(error=TransportError("the board is off.")), DeviceError, "the board is off"),
        (FakeTransport(error=RuntimeFailedError("no tactic.")), WorkError, "no tactic"),
    ],
)
def test_what_fails_leaves_nothing(
    transport: FakeTransport, kind: type[Exception], message: str, exported: ExportReport, tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(kind, match=message):
        export_engine(exported, tmp_path / "a.engine", format="trt", device=GPU, transport=transport)
    assert set(tmp_path.iterdir()) == before


def test_a_machine_without_tensorrt_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('hidden')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match=r"format .trt. on device .gpu.: runtime .tensorrt. needs .*JetPack.*pip install"):
        check_engine_can_be_built("trt", GPU, open_device(GPU))


def test_devices_that_build_no_engines_are_refused(exported: ExportReport, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="but 'cpu' has 'onnxruntime'"):
        engine_device("trt", "cpu")
    with pytest.raises(DeviceError, match="leave it out"):
        engine_device("trt-rtx", "gpu")
    with pytest.raises(InputError, match="goes with --format trt-rtx only"):
        export_engine(exported, tmp_path / "a.engine", format="trt", device=GPU, compute_capabilities=["8.6"])


@needs_rtx
@pytest.mark.parametrize("capabilities", [(), ("8.6",), ("8.9", "12.0")])
def test_rtx_builds_a_real_engine_without_a_gpu(capabilities: tuple[str, ...], exported: ExportReport, tmp_path: Path) -> None:
    out = tmp_path / "subnet.engine"
    device = engine_device("trt-rtx", None)
    report = export_engine(exported, out, format="trt-rtx", device=device, batch_size=2, compute_capabilities=capabilities)
    assert out.read_bytes()[1:4] == b"trt"
    record = json.loads(report.sidecar_file.read_text())["engine"]
    assert record["compute_capabilities"] == list(capabilities)
    assert (record["runtime"], record["batch_size"], record["num_bytes"]) == ("tensorrt-rtx", 2, out.stat().st_size)
    assert load_sidecar(out).architecture == exported.sidecar.architecture


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_rtx_takes_graphs_of_every_precision(precision: Any, tmp_path: Path) -> None:
    graph = build_graph(
        SPACE.blocks(SPACE.largest()),
        rng=np.random.default_rng(0),
        precision=precision,
        quantisation=Quantisation(form="tensorrt") if precision == "int8" else None,
    )
    (tmp_path / "net.onnx").write_bytes(graph.SerializeToString())
    device = engine_device("trt-rtx", None)
    request = EngineRequest(device.runtime, precision, compute_capabilities=("8.6",))
    built = open_device(device).build_engine(request, tmp_path / "net.onnx", tmp_path / "net.engine")
    assert (built.record.precision, built.record.typing) == (precision, "strong")
    assert (tmp_path / "net.engine").read_bytes()[1:4] == b"trt"
