"""trtexec of four generations, played by a program that answers in their documented formats; no real one was at hand."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from profilers.errors import JobError, ModelFileError, RuntimeFailedError, RuntimeNotInstalledError
from profilers.onnx_inputs import read_inputs
from profilers.runtimes import open_runtime
from profilers.runtimes.base import TensorSpec
from profilers.runtimes.tensorrt import trtexec
from profilers.runtimes.tensorrt.trtexec import TrtexecRuntime
from profilers.runtimes.tensorrt.trtexec_output import parse_report, parse_times
from tests.contracts.runtime_contract import RuntimeCase, RuntimeContract
from tests.profilers import fake_trtexec
from tests.profilers.small_models import write_model

GENERATIONS = ("8.2", "8.5", "10.3", "11.0")
OLD = ["--useCudaGraph", "--noDataTransfers", "--useSpinWait"]

MakeProgram = Callable[[str], str]


@pytest.fixture
def make_program(tmp_path: Path) -> MakeProgram:
    def make(generation: str) -> str:
        program = tmp_path / "bin" / "trtexec"
        program.parent.mkdir(exist_ok=True)
        command = shlex.join([sys.executable, "-S", fake_trtexec.__file__, generation, str(tmp_path)])
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
        return str(program)

    return make


@pytest.fixture(autouse=True)
def has_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrtexecRuntime, "check_available", TrtexecRuntime._helped)


def calls(tmp_path: Path) -> list[list[str]]:
    return [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


class TestTrtexec(RuntimeContract):
    @pytest.fixture(params=["8.5", "11.0"])
    def case(self, request: pytest.FixtureRequest, linear_model: Path, make_program: MakeProgram) -> RuntimeCase:
        return RuntimeCase(TrtexecRuntime(make_program(request.param)), linear_model, expected=None)


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(("words", "transfers"), [("gpu", False), ("gpu/transfer/no-graph", True)])
def test_all_generations_give_the_same_record(
    generation: str, words: str, transfers: bool, linear_model: Path, make_program: MakeProgram
) -> None:
    runtime = TrtexecRuntime(make_program(generation), words)
    with runtime.load(linear_model) as session:
        before = runtime.clock()
        for _ in range(30):
            session.run()
        parts = session.take_parts()
    assert runtime.clock() - before == 30 * (700_000 if transfers else 500_000)
    assert parts["gpu"] == (500_000,) * 30
    assert parts["enqueue"] == pytest.approx([200_000 if transfers else 10_000] * 30)
    assert ("copy_in" in parts) is transfers
    assert runtime.mode == f"gpu/{'no-graph/transfer' if transfers else 'graph/no-transfer'}/spin"


@pytest.mark.parametrize(
    ("generation", "words", "switches"),
    [
        ("8.5", "gpu", OLD),
        ("8.5", "gpu/no-graph/transfer/block", []),
        ("10.3", "gpu", OLD),
        ("11.0", "gpu", OLD),
        ("11.0", "gpu/no-graph/transfer/block", ["--noCudaGraph", "--includeDataTransfers", "--noSpinWait"]),
    ],
)
def test_every_switch_is_passed(
    generation: str, words: str, switches: list[str], linear_model: Path, make_program: MakeProgram, tmp_path: Path
) -> None:
    with TrtexecRuntime(make_program(generation), words).load(linear_model) as session:
        session.run()
    run = calls(tmp_path)[-1]
    assert run[-len(switches) :] == switches if switches else run[-1].startswith("--shapes=")


@pytest.mark.parametrize(
    ("generation", "precision", "switches"),
    [
        ("8.5", "fp32", ["--buildOnly", "--avgTiming=8", "--noTF32"]),
        ("8.5", "fp16", ["--buildOnly", "--avgTiming=8", "--fp16", "--noTF32"]),
        ("10.3", "int8", ["--skipInference", "--avgTiming=8", "--stronglyTyped", "--noTF32", "--builderOptimizationLevel=3"]),
        ("11.0", "fp16", ["--skipInference", "--avgTiming=8", "--noTF32", "--builderOptimizationLevel=3"]),
    ],
)
def test_builds_as_the_bindings_do(
    generation: str, precision: str, switches: list[str], linear_model: Path, make_program: MakeProgram, tmp_path: Path
) -> None:
    TrtexecRuntime(make_program(generation)).load(linear_model, precision=precision, batch_size=4).close()
    build = calls(tmp_path)[-1]
    assert build[0] == f"--onnx={linear_model}"
    assert build[2] == "--shapes=x:4x3"
    assert build[3:] == switches


def test_shapes_are_given_only_where_the_model_leaves_them_open(make_program: MakeProgram, tmp_path: Path) -> None:
    fixed = write_model(tmp_path / "fixed.onnx", batch=2)
    with TrtexecRuntime(make_program("10.3")).load(fixed, batch_size=2) as session:
        session.run()
    assert not any(argument.startswith("--shapes") for call in calls(tmp_path) for argument in call)


def test_throughput_is_the_distance_between_ends(linear_model: Path, make_program: MakeProgram) -> None:
    runtime = TrtexecRuntime(make_program("10.3"), "throughput")
    with runtime.load(linear_model) as session:
        session.run()
    assert runtime.clock() == 1_000_000


def test_a_call_holds_about_100_ms_of_runs(linear_model: Path, make_program: MakeProgram, tmp_path: Path) -> None:
    with TrtexecRuntime(make_program("10.3")).load(linear_model) as session:
        for _ in range(21):
            session.run()
    asked = [argument for call in calls(tmp_path) for argument in call if argument.startswith("--iterations")]
    assert asked == ["--iterations=20", "--iterations=200"]


def test_the_version_says_that_it_was_trtexec(make_program: MakeProgram) -> None:
    versions = {generation: TrtexecRuntime(make_program(generation)).version() for generation in GENERATIONS}
    assert versions == {"8.2": "8.2.5 trtexec", "8.5": "8.5.2 trtexec", "10.3": "10.3.0 trtexec", "11.0": "11.0.0 trtexec"}


def test_is_driven_where_bindings_are_missing(make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setenv("PATH", str(Path(make_program("8.5")).parent))
    assert open_runtime("tensorrt").version() == "8.5.2 trtexec"
    with pytest.raises(JobError, match="'latency' came; change it, or install"):
        open_runtime("tensorrt:latency")


def test_what_trtexec_refuses_is_passed_on(make_program: MakeProgram, tmp_path: Path) -> None:
    path = write_model(tmp_path / "other.onnx")
    model = onnx.load(path)
    model.graph.node[0].op_type = "Strange"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"'other\.onnx', but it failed: .*no importer"):
        TrtexecRuntime(make_program("8.5")).load(path)


def test_a_lost_cuda_graph_is_no_measurement(
    linear_model: Path, make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = parse_report("&&&& PASSED\n[W] The CUDA graph capture on the stream has failed.")
    assert report.lost_cuda_graph
    with TrtexecRuntime(make_program("8.5")).load(linear_model) as session:
        monkeypatch.setattr(trtexec, "parse_report", lambda text: report)
        with pytest.raises(RuntimeFailedError, match="'no-graph'"):
            session.run()


def test_a_program_that_is_none_is_named(tmp_path: Path, linear_model: Path) -> None:
    with pytest.raises(RuntimeNotInstalledError, match="no-trtexec"):
        TrtexecRuntime(str(tmp_path / "no-trtexec")).load(linear_model)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_summaries_are_read(generation: str) -> None:
    header = f"&&&& RUNNING TensorRT.trtexec [{fake_trtexec.HEADER[generation]}] # trtexec\n"
    report = parse_report(header + fake_trtexec.summary(generation, 0.2, 0.1) + "\n&&&& PASSED TensorRT.trtexec")
    assert report.passed
    assert report.throughput_qps == 745.412
    assert report.median_ms == {"gpu": 0.5, "enqueue": 0.2, "copy_in": 0.1, "copy_out": 0.1}


@pytest.mark.parametrize("text", ["", "[]", "{}", "[1]", '[{"startComputeMs": 300}]', '[{"startComputeMs": "x"}]', "null"])
def test_broken_times_are_refused(text: str) -> None:
    with pytest.raises(RuntimeFailedError, match="trtexec must export"):
        parse_times(text, 200)


class TestOnnxInputs:
    """The inputs of a file are read without `onnx`; what comes out is compared with it."""

    def test_are_those_that_onnx_reads(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "a.onnx")
        (found,) = read_inputs(path, 5).items()
        assert found[0] == "x"
        assert found[1].spec == TensorSpec((5, 3), "float32")
        assert found[1].is_open
        assert not read_inputs(write_model(tmp_path / "b.onnx", batch=2), 2)["x"].is_open

    def test_initializers_are_no_inputs(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "a.onnx")
        model = onnx.load(path)
        model.graph.input.append(onnx.helper.make_tensor_value_info("weight", onnx.TensorProto.FLOAT, [3, 2]))
        path.write_bytes(model.SerializeToString())
        assert list(read_inputs(path, 1)) == ["x"]

    def test_every_cut_is_refused_or_harmless(self, tmp_path: Path) -> None:
        content = write_model(tmp_path / "a.onnx").read_bytes()
        refused = 0
        for length in range(1, len(content)):
            path = tmp_path / "cut.onnx"
            path.write_bytes(content[:length])
            try:
                read_inputs(path, 1)
            except ModelFileError:
                refused += 1
        assert refused > 0.8 * len(content)
