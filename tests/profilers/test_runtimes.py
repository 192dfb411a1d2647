"""Every runtime against the contract, and what is special to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from profilers.errors import (
    JobError,
    ModelFileError,
    RuntimeFailedError,
    RuntimeNotInstalledError,
)
from profilers.measurement import Measurement
from profilers.results import Results, ResultsWriter
from profilers.runtimes import open_runtime
from profilers.runtimes.base import TensorSpec, file_sha256, random_inputs
from profilers.runtimes.fake import FakeRuntime
from profilers.runtimes.replay import ReplayRuntime
from tests.contracts.runtime_contract import RuntimeCase, RuntimeContract
from tests.profilers.small_models import BIAS, WEIGHT, write_model


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
        with pytest.raises(JobError, match="nothing.jsonl"):
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


def test_loading_a_model_leaves_the_arithmetic_of_the_process_alone(linear_model: Path) -> None:
    """ONNX Runtime can switch denormal numbers off for the whole thread that loads a model: only workers may ask for that."""
    smallest = np.finfo(np.float64).smallest_subnormal
    with open_runtime("onnxruntime").load(linear_model):
        assert smallest * np.float64(1.0) == smallest > 0
