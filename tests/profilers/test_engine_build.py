"""Engines through the agent: in this process with TensorRT's fake, and as a user does with a fake trtexec and the real RTX."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profilers.engine_build import EngineRequest, build_on_this_device, load_arrays, save_arrays
from profilers.errors import JobError, ModelFileError, RuntimeFailedError, RuntimeNotInstalledError
from profilers.runtimes import open_builder
from profilers.runtimes.base import file_sha256
from profilers.runtimes.tensorrt.engine_record import read_record
from profilers.transports.base import Transport
from profilers.transports.local import LocalTransport
from tests.profilers.fake_tensorrt import NAMES
from tests.profilers.small_models import BIAS, WEIGHT
from tests.profilers.test_tensorrt import make_runtime
from tests.profilers.test_trtexec import MakeProgram, make_program

__all__ = ["make_program"]  # a fixture

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="needs TensorRT-RTX: pip install 'natdeploy[trt-rtx]'"
)


@pytest.fixture(autouse=True)
def own_device_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other profilers on this machine are not waited for."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.mark.parametrize("version", NAMES)
@pytest.mark.parametrize(("batch_size", "count"), [(1, 3), (2, 5), (4, 3)])
def test_outputs_are_those_of_all_inputs(version: str, batch_size: int, count: int, linear_model: Path, tmp_path: Path) -> None:
    engine, given, answered = (tmp_path / name for name in ("linear.engine", "in.npz", "out.npz"))
    x = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    save_arrays(given, {"x": x})
    events: list[dict[str, Any]] = []
    build_on_this_device(
        EngineRequest(version.split()[0], batch_size=batch_size),
        linear_model,
        engine,
        events.append,
        inputs_file=given,
        outputs_file=answered,
        builder_named=lambda name: make_runtime(version, "latency", tmp_path),
    )
    record = read_record(engine)
    assert record is not None
    assert events[-1] == {"event": "built", "engine": record.to_json(), "has_run": True, "warnings": []}
    assert record.engine_sha256 == hashlib.sha256(engine.read_bytes()).hexdigest()
    np.testing.assert_allclose(load_arrays(answered)["y"], x @ WEIGHT + BIAS, rtol=1e-5)


def test_inputs_of_different_lengths_are_refused(linear_model: Path, tmp_path: Path) -> None:
    save_arrays(tmp_path / "in.npz", {"x": np.ones((2, 3)), "z": np.ones((3, 3))})
    with pytest.raises(RuntimeFailedError, match=r"the same number of items, but they hold \[2, 3\]"):
        build_on_this_device(
            EngineRequest("tensorrt"),
            linear_model,
            tmp_path / "a.engine",
            lambda event: None,
            inputs_file=tmp_path / "in.npz",
            outputs_file=tmp_path / "out.npz",
            builder_named=lambda name: make_runtime(next(iter(NAMES)), "latency", tmp_path),
        )


@pytest.mark.parametrize("content", [b"", b"PK\3\4 torn", b"no archive"])
def test_broken_arrays_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "in.npz").write_bytes(content)
    with pytest.raises(JobError, match="a file of arrays"):
        load_arrays(tmp_path / "in.npz")


def test_other_runtimes_build_nothing() -> None:
    with pytest.raises(RuntimeNotInstalledError, match="'onnxruntime' came"):
        open_builder("onnxruntime")


@pytest.fixture
def has_trtexec(make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents find a trtexec; TensorRT's own bindings, if they are installed here, are hidden from them."""
    program = Path(make_program("8.5"))
    (program.parent / "tensorrt.py").write_text("raise ImportError('hidden')")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{program.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


@pytest.mark.usefixtures("has_trtexec")
class TestBuiltByTrtexec:
    """The whole way through a process of its own."""

    @pytest.fixture
    def transport(self) -> Transport:
        return LocalTransport()

    def test_an_engine_comes_back_with_its_record(self, transport: Transport, linear_model: Path, tmp_path: Path) -> None:
        transport.check_builds("tensorrt")
        engine = tmp_path / "linear.engine"
        x = np.ones((2, 3), np.float32)
        built = transport.build_engine(EngineRequest("tensorrt", "fp16", 4), linear_model, engine, inputs={"x": x})
        assert engine.read_bytes() == b"ftrt"
        assert built.outputs is None  # trtexec gives none
        record = built.record
        assert record == read_record(engine)
        assert (record.runtime, record.runtime_version, record.typing) == ("tensorrt", "8.5.2", "weak")
        assert (record.gpu, record.compute_capabilities, record.flags) == ("Orin", ("8.7",), ("FP16",))
        assert (record.batch_size, record.level, record.model_sha256) == (4, None, file_sha256(linear_model))

    def test_what_fails_there_is_raised_here(self, transport: Transport, tmp_path: Path) -> None:
        (tmp_path / "garbage.onnx").write_bytes(b"garbage")
        with pytest.raises(ModelFileError, match=r"a model must be a valid ONNX file, but '.*' cannot be read"):
            transport.build_engine(EngineRequest("tensorrt"), tmp_path / "garbage.onnx", tmp_path / "a.engine")
        assert not (tmp_path / "a.engine").exists()
        with pytest.raises(RuntimeNotInstalledError, match="'flute' came"):
            transport.check_builds("flute")

    def test_other_gpus_need_rtx(self, transport: Transport, linear_model: Path, tmp_path: Path) -> None:
        request = EngineRequest("tensorrt", compute_capabilities=("8.6",))
        with pytest.raises(RuntimeFailedError, match="use the format trt-rtx"):
            transport.build_engine(request, linear_model, tmp_path / "a.engine")


class TestBuiltOverSsh(TestBuiltByTrtexec):
    """The same on a board."""

    @pytest.fixture
    def transport(self, tmp_path: Path, has_trtexec: None, monkeypatch: pytest.MonkeyPatch) -> Any:
        pytest.importorskip("asyncssh", reason="needs asyncssh: pip install 'natdeploy[remote]'")
        from profilers.transports.ssh import SshTransport
        from tests.profilers.loopback import asyncssh_board

        monkeypatch.setenv("HOME", str(tmp_path / "board"))  # where the key of the board is known
        with asyncssh_board(tmp_path / "board") as board:
            yield SshTransport(board.address)
            assert not list(board.cache.glob("jobs/*")), "a folder was left on the board"


@needs_rtx
@pytest.mark.parametrize("capability", ["8.6", "12.0"])
def test_rtx_builds_without_a_gpu(capability: str, linear_model: Path, tmp_path: Path) -> None:
    transport = LocalTransport()
    transport.check_builds("tensorrt-rtx")
    engine = tmp_path / "linear.engine"
    request = EngineRequest("tensorrt-rtx", batch_size=8, compute_capabilities=(capability,))
    built = transport.build_engine(request, linear_model, engine)
    assert engine.read_bytes()[1:4] == b"trt"
    assert built.record.compute_capabilities == (capability,)
    assert built.record.gpu is None
    assert built.outputs is None


@needs_rtx
def test_rtx_refuses_in_a_sentence(linear_model: Path, tmp_path: Path) -> None:
    transport = LocalTransport()
    request = EngineRequest("tensorrt-rtx", compute_capabilities=("9.0",))
    with pytest.raises(RuntimeFailedError, match=r"builds for the compute capabilities .*8\.6.*, but '9\.0' came"):
        transport.build_engine(request, linear_model, tmp_path / "a.engine")
    (tmp_path / "garbage.onnx").write_bytes(b"garbage")
    with pytest.raises(ModelFileError, match="a model must be an ONNX file that tensorrt-rtx reads"):
        transport.build_engine(EngineRequest("tensorrt-rtx"), tmp_path / "garbage.onnx", tmp_path / "a.engine")
