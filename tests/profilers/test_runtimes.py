"""Every runtime against the contract, and what is special to each."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nat_deploy.conversion import convert, write_openvino
from profilers.errors import (
    JobError,
    ModelFileError,
    RuntimeFailedError,
    RuntimeNotInstalledError,
)
from profilers.job import Job, ModelFile
from profilers.measurement import Measurement
from profilers.results import Results, ResultsWriter
from profilers.runtimes import model_suffix, open_runtime
from profilers.runtimes.base import TensorSpec, facts_for, file_sha256, random_inputs
from profilers.runtimes.fake import FakeRuntime
from profilers.runtimes.replay import ReplayRuntime
from profilers.runtimes.tensorrt.cuda import Cuda, Gpu
from profilers.settings import Settings
from profilers.transports.local import LocalTransport
from tests.contracts.runtime_contract import RuntimeCase, RuntimeContract
from tests.profilers.small_models import BIAS, WEIGHT, build_gemm, write_model

PACKAGES = {"openvino": "openvino", "litert": "ai_edge_litert", "executorch": "executorch"}
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class TestOnnxRuntime(RuntimeContract):
    @pytest.fixture
    def case(self, linear_model: Path) -> RuntimeCase:
        return RuntimeCase(open_runtime("onnxruntime"), linear_model, lambda x: x @ WEIGHT + BIAS)

    def test_a_fixed_batch_is_not_stretched(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "fixed.onnx", batch=2)
        with open_runtime("onnxruntime").load(path, batch_size=2) as session:
            assert session.inputs == {"x": TensorSpec((2, 3), "float32")}
        with pytest.raises(ModelFileError, match="batches of 5"):
            open_runtime("onnxruntime").load(path, batch_size=5)

    def test_other_open_dimensions_are_refused(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "open.onnx", width="width")
        with pytest.raises(ModelFileError, match="first dimension"):
            open_runtime("onnxruntime").load(path)

    def test_two_threads_give_the_same_values(self, linear_model: Path) -> None:
        with open_runtime("onnxruntime").load(linear_model, threads=2) as session:
            output = session.infer({"x": np.ones((1, 3), np.float32)})["y"]
        np.testing.assert_allclose(output, [[9.5, 11.5]])

    def test_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
        with pytest.raises(RuntimeNotInstalledError, match="pip install onnxruntime"):
            open_runtime("onnxruntime").version()


class StubSession:
    """An ONNX Runtime session that says which providers it got."""

    def __init__(self, *, providers: list[str], **_: object) -> None:
        self._providers = providers

    def get_providers(self) -> list[str]:
        return self._providers

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x", type="tensor(float)", shape=["batch", 3])]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="y")]

    def run(self, names: list[str], inputs: dict[str, Any]) -> list[Any]:
        return [inputs["x"] @ WEIGHT + BIAS]


def stub_onnxruntime(monkeypatch: pytest.MonkeyPatch, *, offered: list[str], started: list[str]) -> list[Any]:
    """Put an ONNX Runtime in place that offers and starts these providers; returns what it will have been asked for."""
    asked: list[Any] = []

    def make_session(path: str, options: object, *, providers: list[Any]) -> StubSession:
        asked.extend(providers)
        return StubSession(providers=started)

    real = importlib.import_module("onnxruntime")
    names = ("SessionOptions", "ExecutionMode", "GraphOptimizationLevel", "__version__")
    stub = SimpleNamespace(**{name: getattr(real, name) for name in names})
    stub.get_available_providers = lambda: offered
    stub.InferenceSession = make_session
    monkeypatch.setitem(sys.modules, "onnxruntime", stub)
    gpu = Gpu(name="NVIDIA H200", compute_capability="9.0", driver_cuda="13.0", is_integrated=False, pci_bus_id="0")
    monkeypatch.setattr(Cuda, "load", lambda: SimpleNamespace(gpu=lambda: gpu))
    return asked


class TestOnnxRuntimeCuda:
    """No GPU is at hand: what is tested is what is asked of ONNX Runtime, and what is said when it does not comply."""

    def test_asks_for_the_gpu_and_for_true_float32(self, linear_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = stub_onnxruntime(monkeypatch, offered=[CUDA, CPU], started=[CUDA, CPU])
        with open_runtime("onnxruntime-cuda").load(linear_model, batch_size=2) as session:
            output = session.infer({"x": np.ones((2, 3), np.float32)})["y"]
        np.testing.assert_allclose(output, [[9.5, 11.5]] * 2)
        assert asked == [(CUDA, {"use_tf32": "0"})]

    def test_is_a_target_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stub_onnxruntime(monkeypatch, offered=[CUDA, CPU], started=[CUDA, CPU])
        models = (ModelFile("a", "a.onnx"),)
        device = facts_for(open_runtime("onnxruntime-cuda")).device
        assert (
            Job(runtime="onnxruntime-cuda", models=models).target_on(device, "1").key
            == "nvidia-h200.onnxruntime-cuda-1.fp32.t1.b1"
        )
        assert facts_for(open_runtime("onnxruntime")).accelerator is None

    def test_a_machine_without_a_gpu_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        load = Cuda.load
        stub_onnxruntime(monkeypatch, offered=[CUDA, CPU], started=[CUDA, CPU])
        monkeypatch.setattr(Cuda, "load", load)
        monkeypatch.setattr("profilers.runtimes.tensorrt.cuda._LIBRARY", "libno-such-driver.so")
        with pytest.raises(RuntimeNotInstalledError, match="an NVIDIA GPU with its driver is needed"):
            open_runtime("onnxruntime-cuda").check_available()

    def test_a_build_without_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stub_onnxruntime(monkeypatch, offered=[CPU], started=[CPU])
        with pytest.raises(RuntimeNotInstalledError, match=f"offers {CPU}; .* install 'onnxruntime-gpu'"):
            open_runtime("onnxruntime-cuda").check_available()

    def test_a_silent_fall_back_to_the_cpu_is_refused(self, linear_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        stub_onnxruntime(monkeypatch, offered=[CUDA, CPU], started=[CPU])
        with pytest.raises(RuntimeFailedError, match="the CPU would have been timed"):
            open_runtime("onnxruntime-cuda").load(linear_model)


class TestOpenVino(RuntimeContract):
    @pytest.fixture
    def case(self, linear_model: Path) -> RuntimeCase:
        pytest.importorskip("openvino")
        return RuntimeCase(open_runtime("openvino"), linear_model, lambda x: x @ WEIGHT + BIAS)

    def test_reads_its_own_files_too(self, case: RuntimeCase, tmp_path: Path) -> None:
        for suffix, content in zip((".xml", ".bin"), write_openvino(build_gemm()), strict=True):
            (tmp_path / f"model{suffix}").write_bytes(content)
        with case.runtime.load(tmp_path / "model.xml", batch_size=2) as session:
            assert session.inputs == {"x": TensorSpec((2, 3), "float32")}
            np.testing.assert_allclose(session.infer({"x": np.ones((2, 3), np.float32)})["y"], [[9.5, 11.5]] * 2)

    def test_a_precision_that_the_processor_lacks_is_refused(self, case: RuntimeCase) -> None:
        """OpenVINO would take bfloat16 or float32 for float16 without a word."""
        if "FP16" in importlib.import_module("openvino").Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            pytest.skip("this processor computes in float16")
        with pytest.raises(RuntimeFailedError, match="must compute in f16 for precision 'fp16'"):
            self.load(case, precision="fp16")

    def test_nothing_is_reported_to_its_maker(self) -> None:
        """The package does so when it is imported, unless the other package that does the sending cannot be imported."""
        pytest.importorskip("openvino")
        script = (
            "from profilers.runtimes import open_runtime; open_runtime('openvino').version(); import sys; "
            "assert 'openvino_telemetry' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


class TestLiteRt(RuntimeContract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> RuntimeCase:
        pytest.importorskip("ai_edge_litert")
        path = tmp_path / "linear.tflite"
        path.write_bytes(convert(build_gemm(), ".tflite"))
        return RuntimeCase(open_runtime("litert"), path, lambda x: x @ WEIGHT + BIAS)

    def test_a_fixed_batch_is_not_stretched(self, case: RuntimeCase, tmp_path: Path) -> None:
        path = tmp_path / "fixed.tflite"
        path.write_bytes(convert(build_gemm(batch=2), ".tflite"))
        with case.runtime.load(path, batch_size=2) as session:
            assert session.inputs == {"x": TensorSpec((2, 3), "float32")}
        with pytest.raises(ModelFileError, match="batches of 5"):
            case.runtime.load(path, batch_size=5)

    def test_other_kinds_of_files_are_refused(self, case: RuntimeCase, linear_model: Path) -> None:
        with pytest.raises(ModelFileError, match=r"must be a \.tflite file"):
            case.runtime.load(linear_model)


class TestExecuTorch(RuntimeContract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> RuntimeCase:
        pytest.importorskip("executorch")
        path = tmp_path / "linear.pte"
        path.write_bytes(convert(build_gemm(), ".pte"))
        return RuntimeCase(open_runtime("executorch"), path, lambda x: x @ WEIGHT + BIAS, has_open_batch=False)

    def test_other_kinds_of_files_are_refused(self, case: RuntimeCase, linear_model: Path) -> None:
        with pytest.raises(ModelFileError, match=r"must be a \.pte file"):
            case.runtime.load(linear_model)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = PACKAGES[name]
    for module in [package, *(loaded for loaded in sys.modules if loaded.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    for ask in (open_runtime(name).check_available, open_runtime(name).version):
        with pytest.raises(RuntimeNotInstalledError, match=f"pip install {package.replace('_', '-')}'"):
            ask()


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_that_was_cut_off_is_refused(name: str, share: float, tmp_path: Path) -> None:
    pytest.importorskip(PACKAGES[name])
    path = tmp_path / f"cut{model_suffix(name)}"
    content = convert(build_gemm(batch=1), model_suffix(name))
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises((ModelFileError, RuntimeFailedError), match="cut"):
        open_runtime(name).load(path)


@pytest.mark.parametrize("name", PACKAGES)
def test_two_threads_give_the_same_values(name: str, tmp_path: Path) -> None:
    pytest.importorskip(PACKAGES[name])
    path = tmp_path / f"model{model_suffix(name)}"
    path.write_bytes(convert(build_gemm(batch=1), model_suffix(name)))
    with open_runtime(name).load(path, threads=2) as session:
        (entry,) = session.inputs
        (output,) = session.infer({entry: np.ones((1, 3), np.float32)}).values()
    np.testing.assert_allclose(output, [[9.5, 11.5]])


@pytest.mark.parametrize("name", PACKAGES)
def test_a_job_is_measured(name: str, tmp_path: Path, quick: Settings) -> None:
    pytest.importorskip(PACKAGES[name])
    good, bad = (tmp_path / f"{stem}{model_suffix(name)}" for stem in ("good", "bad"))
    good.write_bytes(convert(build_gemm(batch=2), model_suffix(name)))
    bad.write_bytes(b"this is not a model")
    models = (ModelFile("good", good), ModelFile("bad", bad), ModelFile("missing", tmp_path / "missing"))
    failed: dict[str, str] = {}

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "failed":
            failed[event["id"]] = event["error"]

    job = Job(runtime=name, models=models, batch_size=2, affinity=(min(os.sched_getaffinity(0)),), settings=quick)
    measured = LocalTransport().run_job(job, tmp_path / "results.jsonl", on_event=listen)
    assert [row.id for row in measured] == ["good"]
    assert measured[0].target.key.endswith(f".{name}-{open_runtime(name).version()}.fp32.t1.b2")
    assert failed == {"bad": "ModelFileError", "missing": "ModelFileError"}


class TestFakeRuntime(RuntimeContract):
    @pytest.fixture
    def case(self, linear_model: Path) -> RuntimeCase:
        return RuntimeCase(FakeRuntime(lambda *_: 1000), linear_model, lambda x: x, refuses_garbage=False)

    def test_is_never_offered(self) -> None:
        with pytest.raises(RuntimeNotInstalledError):
            open_runtime("fake")


class TestReplayRuntime(RuntimeContract):
    @pytest.fixture
    def case(self, linear_model: Path, make_measurement: Callable[..., Measurement]) -> RuntimeCase:
        recorded = make_measurement(model_sha256=file_sha256(linear_model))
        return RuntimeCase(ReplayRuntime([recorded]), linear_model, expected=None)

    def test_plays_the_samples_in_order_and_again(self, case: RuntimeCase) -> None:
        times = [0]
        with self.load(case) as session:
            for _ in range(8):
                session.run()
                times.append(case.runtime.clock())
        assert (np.diff(times) // 1_000_000).tolist() == [1, 2, 3, 2, 2, 9, 1, 2]

    def test_refuses_what_was_not_recorded(self, case: RuntimeCase, tmp_path: Path) -> None:
        other = write_model(tmp_path / "other.onnx", repeats=1)
        with pytest.raises(ModelFileError, match="recorded"):
            case.runtime.load(other)
        with pytest.raises(RuntimeFailedError, match="threads=2"):
            case.runtime.load(case.model, threads=2)

    def test_is_opened_from_a_results_file(self, tmp_path: Path, make_measurement: Callable[..., Measurement]) -> None:
        path = tmp_path / "results.jsonl"
        row = make_measurement()
        with ResultsWriter(path, Results()) as writer:
            writer.append(row)
        assert open_runtime(f"replay:{path}").version() == row.target.key
        with pytest.raises(JobError, match="a recording must be a results file"):
            open_runtime(f"replay:{tmp_path / 'nothing.jsonl'}")
        with pytest.raises(JobError, match="one target"):
            ReplayRuntime([row, replace(row, target=replace(row.target, threads=2))])


def test_random_inputs_are_seeded_and_fit_their_types() -> None:
    specs = {
        "image": TensorSpec((1, 2, 3), "float16"),
        "index": TensorSpec((4,), "int64"),
        "mask": TensorSpec((), "bool"),
    }
    first, again, other = random_inputs(specs, 0), random_inputs(specs, 0), random_inputs(specs, 1)
    for name, spec in specs.items():
        assert first[name].shape == spec.shape
        assert first[name].dtype.name == spec.dtype
        np.testing.assert_array_equal(first[name], again[name])
    assert set(first["index"].tolist()) <= {0, 1}
    assert not np.array_equal(first["image"], other["image"])


def test_unknown_runtimes_name_the_known_ones() -> None:
    with pytest.raises(RuntimeNotInstalledError, match="onnxruntime"):
        open_runtime("warpspeed")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "litert", "executorch"])
def test_loading_a_model_leaves_the_arithmetic_of_the_process_alone(name: str, tmp_path: Path) -> None:
    """Runtimes can switch denormal numbers off for the whole thread that loads a model: only workers may ask for that."""
    pytest.importorskip(PACKAGES.get(name, name))
    path = tmp_path / f"model{model_suffix(name)}"
    path.write_bytes(convert(build_gemm(), model_suffix(name)))
    smallest = np.finfo(np.float64).smallest_subnormal
    with open_runtime(name).load(path) as session:
        session.run()
        assert smallest * np.float64(1.0) == smallest > 0


def test_the_kind_of_file_is_known_before_a_runtime_is_opened(
    tmp_path: Path, make_measurement: Callable[..., Measurement]
) -> None:
    names = ("onnxruntime", "onnxruntime-cuda", "openvino", "litert", "executorch", "replay:nowhere.jsonl")
    assert [model_suffix(name) for name in names] == [".onnx", ".onnx", ".onnx", ".tflite", ".pte", ".onnx"]
    row = make_measurement()
    path = tmp_path / "phone.jsonl"
    with ResultsWriter(path, Results()) as writer:
        writer.append(replace(row, target=replace(row.target, runtime="litert")))
    assert model_suffix(f"replay:{path}") == ".tflite"
