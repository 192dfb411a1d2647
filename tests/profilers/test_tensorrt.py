"""The TensorRT runtime against every version's names, and the rules of timing, without a GPU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profilers.errors import JobError, ModelFileError, RuntimeFailedError, RuntimeNotInstalledError
from profilers.job import Job, ModelFile
from profilers.measurement import Measurement
from profilers.runtimes import open_runtime
from profilers.runtimes.base import file_sha256
from profilers.runtimes.tensorrt import builder
from profilers.runtimes.tensorrt.builder import BuildOptions, build_engine
from profilers.runtimes.tensorrt.engine_record import EngineRecord, read_record, write_record
from profilers.runtimes.tensorrt.runtime import TensorRtRuntime
from profilers.runtimes.tensorrt.timing_mode import TimingMode
from profilers.settings import Settings
from profilers.worker import measure_group
from tests.contracts.runtime_contract import RuntimeCase, RuntimeContract
from tests.profilers.fake_tensorrt import COPY_NS, GPU, KERNEL_NS, NAMES, RTX, TENSORRT, FakeCuda, make_bindings
from tests.profilers.small_models import BIAS, WEIGHT, write_model

MODES = (
    "latency",
    "latency/no-graph",
    "latency/transfer/block",
    "gpu",
    "gpu/transfer",
    "throughput",
    "throughput/transfer/no-graph",
)


def make_runtime(version: str, mode: str, folder: Path, cuda: FakeCuda | None = None) -> TensorRtRuntime:
    cuda = cuda or FakeCuda()
    bindings = make_bindings(version, cuda)
    return TensorRtRuntime(
        version.split()[0], TimingMode.parse(mode), bindings=lambda name: bindings, cuda=lambda: cuda, cache_folder=folder
    )


class TestTensorRt(RuntimeContract):
    @pytest.fixture(params=[(name, "latency") for name in NAMES] + [(TENSORRT[0], mode) for mode in MODES[1:]], ids=" ".join)
    def case(self, request: pytest.FixtureRequest, linear_model: Path, tmp_path: Path) -> RuntimeCase:
        version, mode = request.param
        return RuntimeCase(make_runtime(version, mode, tmp_path / "cache"), linear_model, lambda x: x @ WEIGHT + BIAS)

    def test_nothing_is_left_on_the_gpu(self, case: RuntimeCase) -> None:
        assert isinstance(case.runtime, TensorRtRuntime)
        cuda = case.runtime._driver()
        assert isinstance(cuda, FakeCuda)
        with self.load(case) as session:
            assert cuda.memory
            assert cuda.events
            for _ in range(600):  # past the ring of marks
                session.run()
            session.infer(self.inputs(session))
        assert not [*cuda.memory, *cuda.streams, *cuda.events, *cuda.graphs]

    def test_outputs_are_right_after_timing(self, case: RuntimeCase) -> None:
        with self.load(case) as session:
            for _ in range(5):
                session.run()
            inputs = self.inputs(session, seed=3)
            np.testing.assert_allclose(session.infer(inputs)["y"], inputs["x"] @ WEIGHT + BIAS, rtol=1e-5, atol=1e-5)
            session.run()


@pytest.mark.parametrize("mode", MODES)
def test_a_run_does_what_its_mode_says(mode: str, linear_model: Path, tmp_path: Path) -> None:
    cuda = FakeCuda()
    runtime = make_runtime(TENSORRT[2], mode, tmp_path, cuda)
    with runtime.load(linear_model) as session:
        session.take_parts()
        cuda.calls.clear()
        for _ in range(7):
            session.run()
        parts = session.take_parts()
    settings = TimingMode.parse(mode)
    assert cuda.spin_wait is settings.spin_wait
    assert cuda.calls.count("launch") == (7 if settings.cuda_graph else 0)
    assert cuda.calls.count("copy_in") == cuda.calls.count("copy_out") == (7 if settings.transfers else 0)
    assert parts["gpu"] == (KERNEL_NS,) * 7
    assert set(parts) == {"gpu", "enqueue", "host"} | ({"copy_in", "copy_out"} if settings.transfers else set())
    assert all(len(times) == 7 for times in parts.values())


def test_the_clock_of_the_gpu_counts_what_the_gpu_did(linear_model: Path, tmp_path: Path) -> None:
    for mode, expected in (("gpu", KERNEL_NS), ("gpu/transfer", KERNEL_NS + 2 * COPY_NS)):
        runtime = make_runtime(TENSORRT[0], mode, tmp_path)
        with runtime.load(linear_model) as session:
            before = runtime.clock()
            session.run()
            assert runtime.clock() - before == expected


def test_a_queued_run_is_waited_for_before_its_memory_is_used_again(linear_model: Path, tmp_path: Path) -> None:
    """With copies on streams of their own, the work of one run overlaps with the copies of the other."""
    cuda = FakeCuda()
    with make_runtime(TENSORRT[0], "throughput/transfer", tmp_path, cuda).load(linear_model) as session:
        session.take_parts()
        start = max(cuda.streams.values())
        for stream in cuda.streams:
            cuda.streams[stream] = start
        for _ in range(10):
            session.run()
        assert max(cuda.streams.values()) - start == 10 * KERNEL_NS + 2 * COPY_NS


@pytest.mark.parametrize("mode", ["latency", "latency/transfer/no-graph", "gpu", "throughput/transfer"])
def test_the_record_keeps_the_time_of_the_gpu_and_of_the_caller(mode: str, linear_model: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    sha256 = file_sha256(linear_model)
    settings = Settings(min_rounds=5, cap_s=0.02, warm_up_ms=1.0, round_ms=1.0, half_width=0.1)
    job = Job(
        runtime="tensorrt",
        models=(ModelFile("a", str(linear_model), sha256),),
        precision="fp32",
        settings=settings,
        reference="a",
    )
    runtime = make_runtime(TENSORRT[0], mode, tmp_path)
    measure_group(job, ["a"], runtime, events.append)
    (row,) = [Measurement.from_json(event["measurement"]) for event in events if event["event"] == "measurement"]
    assert row.sitting is not None
    parts = {part.name: part.medians_ns for part in row.sitting.parts}
    assert set(parts) == {"gpu", "enqueue", "host"} | ({"copy_in", "copy_out"} if "/transfer" in mode else set())
    assert parts["gpu"] == (KERNEL_NS,) * len(row.rounds)
    assert all(len(times) == len(row.rounds) and min(times) > 0 for times in parts.values())
    assert row.target.timing_mode == TimingMode.parse(mode).name


def test_parts_of_long_rounds_are_those_of_their_first_runs(linear_model: Path, tmp_path: Path) -> None:
    with make_runtime(TENSORRT[0], "gpu", tmp_path).load(linear_model) as session:
        for _ in range(700):
            session.run()
        assert len(session.take_parts()["gpu"]) == 512
        session.run()
        assert len(session.take_parts()["gpu"]) == 1


def test_an_engine_that_no_graph_can_hold_says_so(linear_model: Path, tmp_path: Path) -> None:
    cuda = FakeCuda()
    cuda.refuses_capture = True
    with pytest.raises(RuntimeFailedError, match="'no-graph'"):
        make_runtime(TENSORRT[0], "latency", tmp_path, cuda).load(linear_model)
    assert not [*cuda.memory, *cuda.streams, *cuda.events]
    with make_runtime(TENSORRT[0], "no-graph", tmp_path, cuda).load(linear_model) as session:
        session.run()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("", "latency/graph/no-transfer/spin"),
        ("gpu", "gpu/graph/no-transfer/spin"),
        ("block/throughput/transfer", "throughput/graph/transfer/block"),
        ("no-graph/level5", "latency/no-graph/no-transfer/spin/level5"),
    ],
)
def test_modes_have_one_name(words: str, name: str) -> None:
    mode = TimingMode.parse(words)
    assert mode.name == name
    assert TimingMode.parse(name) == mode


@pytest.mark.parametrize(("words", "message"), [("fast", "'fast' came"), ("graph/no-graph", "contradicts"), ("level9", "level9")])
def test_wrong_modes_are_refused(words: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        TimingMode.parse(words)


def build(version: str, model: Path, **changes: Any) -> tuple[EngineRecord, bytes]:
    built = build_engine(version.split()[0], make_bindings(version, FakeCuda()), model, BuildOptions(**changes), GPU)
    return built.record, built.plan


@pytest.mark.parametrize("version", TENSORRT)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_only_old_versions_take_precision_from_flags(version: str, precision: str, linear_model: Path) -> None:
    record, plan = build(version, linear_model, precision=precision)
    is_old = version.startswith("tensorrt 8")
    flags = {"fp32": (), "fp16": ("FP16",), "int8": ("INT8",)}[precision] if is_old else ()
    assert record.flags == flags  # and never TF32, which is on by default
    assert record.typing == ("weak" if is_old else "strong")
    assert record.level == (None if version.startswith("tensorrt 8.5") else 3)
    assert (record.gpu, record.compute_capabilities, record.cuda) == ("NVIDIA Test 100", ("8.6",), "12.4")
    assert record.model_sha256 == file_sha256(linear_model)
    assert record.num_bytes == len(plan)


def test_a_level_is_refused_where_there_is_none(linear_model: Path) -> None:
    assert build(TENSORRT[1], linear_model, level=5)[0].level == 5
    with pytest.raises(RuntimeFailedError, match=r"8\.6 or newer"):
        build(TENSORRT[0], linear_model, level=5)


def test_tactics_of_missing_libraries_are_left_out(linear_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "_has_library", lambda name, function: name == "libcudnn.so")
    assert build(TENSORRT[0], linear_model)[0].tactic_sources == ("CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
    assert build(TENSORRT[-1], linear_model)[0].tactic_sources == ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")


def test_other_gpus_need_rtx(linear_model: Path) -> None:
    assert build(RTX, linear_model, compute_capabilities=("8.6", "12.0"))[0].compute_capabilities == ("8.6", "12.0")
    with pytest.raises(RuntimeFailedError, match=r"7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1, but '9\.0' came"):
        build(RTX, linear_model, compute_capabilities=("9.0",))
    with pytest.raises(RuntimeFailedError, match="needs TensorRT-RTX"):
        build(TENSORRT[-1], linear_model, compute_capabilities=("8.6",))


def test_builds_share_a_timing_cache_and_survive_a_foreign_one(linear_model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "new" / "gpu.timing"
    for count in (1, 2):
        build(TENSORRT[0], linear_model, timing_cache=cache)
        assert cache.read_bytes() == b"tactic;" * count
    cache.write_bytes(b"foreign")
    build(TENSORRT[0], linear_model, timing_cache=cache)
    assert cache.read_bytes() == b"tactic;"
    build(RTX, linear_model, timing_cache=tmp_path / "rtx.timing")
    assert not (tmp_path / "rtx.timing").exists()


class TestEngineFiles:
    """An engine is a file of its own, with a record beside it."""

    @pytest.fixture
    def engine(self, linear_model: Path, tmp_path: Path) -> Path:
        record, plan = build(TENSORRT[2], linear_model, batch_size=2)
        path = tmp_path / "linear.engine"
        path.write_bytes(plan)
        write_record(path, record)
        return path

    def load(self, engine: Path, version: str = TENSORRT[2], *, batch_size: int = 2, **gpu: Any) -> Any:
        runtime = make_runtime(version, "latency", engine.parent, FakeCuda(replace(GPU, **gpu)))
        return runtime.load(engine, batch_size=batch_size)

    def test_runs_where_it_was_built(self, engine: Path) -> None:
        with self.load(engine) as session:
            np.testing.assert_allclose(session.infer({"x": np.ones((2, 3), np.float32)})["y"], [[9.5, 11.5]] * 2)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"version": TENSORRT[3]}, r"tensorrt 10\.3\.0, but here is 10\.16\.1\.11; build it on this device"),
            ({"version": RTX}, "tensorrt, but here is tensorrt-rtx"),
            ({"name": "NVIDIA Other"}, r"NVIDIA Test 100 \(compute capability 8\.6\), but here is NVIDIA Other \(8\.6\)"),
            ({"compute_capability": "9.0"}, r"but here is NVIDIA Test 100 \(9\.0\)"),
        ],
    )
    def test_says_why_it_cannot_run_elsewhere(self, engine: Path, changes: dict[str, str], message: str) -> None:
        with pytest.raises(RuntimeFailedError, match=message):
            self.load(engine, **changes)

    def test_takes_its_own_batch_only(self, engine: Path) -> None:
        with pytest.raises(ModelFileError, match="batches of 2, but 3 was asked for"):
            self.load(engine, batch_size=3)

    def test_without_a_record_the_refusal_of_tensorrt_is_passed_on(self, engine: Path) -> None:
        engine.with_name("linear.engine.json").unlink()
        with self.load(engine) as session:
            session.run()
        with pytest.raises(RuntimeFailedError, match="it refused: the plan was built for another version"):
            self.load(engine, TENSORRT[3])
        engine.write_bytes(engine.read_bytes()[:100])
        with pytest.raises(RuntimeFailedError, match="the plan is corrupt"):
            self.load(engine)

    def test_an_engine_of_rtx_runs_on_all_that_it_was_built_for(self, engine: Path) -> None:
        record = read_record(engine)
        assert record is not None
        write_record(
            engine,
            replace(
                record, runtime="tensorrt-rtx", runtime_version=RTX.split()[1], gpu=None, compute_capabilities=("8.9", "12.0")
            ),
        )
        with pytest.raises(RuntimeFailedError, match=r"compute capability 8\.9, 12\.0, but here is 8\.6"):
            self.load(engine, RTX)

    def test_the_record_is_read_back(self, engine: Path) -> None:
        record = read_record(engine)
        assert record == EngineRecord.from_json(json.loads(json.dumps(record and record.to_json())))
        assert read_record(engine.with_name("other.engine")) is None

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"engine": {"format": 1}}', '{"engine": {"format": 2}}', "\xff"])
    def test_a_broken_record_is_refused(self, engine: Path, text: str) -> None:
        engine.with_name("linear.engine.json").write_text(text, encoding="latin-1")
        with pytest.raises(JobError, match="engine"):
            self.load(engine)


def test_a_fixed_batch_needs_no_profile(tmp_path: Path) -> None:
    path = write_model(tmp_path / "fixed.onnx", batch=2)
    with make_runtime(TENSORRT[0], "latency", tmp_path).load(path, batch_size=2) as session:
        session.run()
    with pytest.raises(ModelFileError, match="batches of 5"):
        make_runtime(TENSORRT[0], "latency", tmp_path).load(path, batch_size=5)


def test_the_gpu_names_the_device_unless_it_is_part_of_a_board(tmp_path: Path) -> None:
    assert make_runtime(TENSORRT[0], "latency", tmp_path).accelerator() == "NVIDIA Test 100"
    jetson = FakeCuda(replace(GPU, name="Orin", is_integrated=True))
    assert make_runtime(TENSORRT[0], "latency", tmp_path, jetson).accelerator() is None


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeNotInstalledError, match=f"runtime '{name}' needs .*pip install {name}"):
        open_runtime(name).check_available()


def test_a_machine_without_a_driver_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from profilers.runtimes.tensorrt import cuda

    monkeypatch.setattr(cuda, "_LIBRARY", "libno-such-driver.so.1")
    with pytest.raises(RuntimeNotInstalledError, match="an NVIDIA GPU with its driver is needed"):
        cuda.Cuda.load()
