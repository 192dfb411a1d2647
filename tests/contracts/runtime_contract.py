"""What every runtime must do; `class TestX(RuntimeContract)` gives the fixture `case` and inherits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from profilers.errors import ModelFileError, RuntimeFailedError
from profilers.runtimes.base import Runtime

Array = NDArray[Any]


@dataclass(frozen=True)
class RuntimeCase:
    """A runtime and a model file with one input and one output; its leading dimension is open, or `batch_size`."""

    runtime: Runtime
    model: Path
    expected: Callable[[Array], Array] | None  # input -> output; None for runtimes that compute nothing
    tolerance: float = 1e-5
    refuses_garbage: bool = True  # False for runtimes that do not read the model
    batch_size: int = 1
    has_open_batch: bool = True  # False where files of this runtime fix it


class RuntimeContract:
    """Behaviour that callers rely on, whatever the runtime."""

    def load(self, case: RuntimeCase, **changes: Any) -> Any:
        return case.runtime.load(case.model, **{"batch_size": case.batch_size, **changes})

    def inputs(self, session: Any, seed: int = 0) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        return {name: rng.normal(size=spec.shape).astype(spec.dtype) for name, spec in session.inputs.items()}

    def test_is_available_with_a_name_and_a_version(self, case: RuntimeCase) -> None:
        case.runtime.check_available()
        assert case.runtime.name
        assert case.runtime.version()

    def test_infer_gives_the_right_values(self, case: RuntimeCase) -> None:
        with self.load(case) as session:
            if case.expected is None:
                with pytest.raises(RuntimeFailedError):
                    session.infer(self.inputs(session))
                return
            inputs = self.inputs(session)
            (output,) = session.infer(inputs).values()
            (given,) = inputs.values()
            np.testing.assert_allclose(output, case.expected(given), rtol=case.tolerance, atol=case.tolerance)

    def test_outputs_stay_the_callers(self, case: RuntimeCase) -> None:
        if case.expected is None:
            return
        with self.load(case) as session:
            first = session.infer(self.inputs(session, seed=1))
            kept = {name: value.copy() for name, value in first.items()}
            session.infer(self.inputs(session, seed=2))
        for name, value in kept.items():
            np.testing.assert_array_equal(first[name], value)

    def test_an_open_batch_is_filled(self, case: RuntimeCase) -> None:
        if case.expected is None:
            return
        if not case.has_open_batch:
            with pytest.raises(ModelFileError, match="batches of 3"):
                self.load(case, batch_size=3)
            return
        with self.load(case, batch_size=3) as session:
            (spec,) = session.inputs.values()
            assert spec.shape[0] == 3
            (output,) = session.infer(self.inputs(session)).values()
            assert output.shape[0] == 3

    def test_running_takes_time_on_its_clock(self, case: RuntimeCase) -> None:
        with self.load(case) as session:
            before = case.runtime.clock()
            for _ in range(20):
                session.run()
            assert case.runtime.clock() > before

    @pytest.mark.parametrize("change", ["name", "missing", "shape", "dtype"])
    def test_wrong_inputs_are_refused_before_the_runtime_sees_them(self, case: RuntimeCase, change: str) -> None:
        with self.load(case) as session:
            inputs = self.inputs(session)
            for name in list(inputs):
                value = inputs.pop(name)
                if change == "name":
                    inputs["no_such_input"] = value
                elif change == "shape":
                    inputs[name] = np.concatenate([value, value])
                elif change == "dtype":
                    inputs[name] = value.astype("complex64")
            with pytest.raises(RuntimeFailedError):
                session.infer(inputs)

    def test_a_missing_file_is_named(self, case: RuntimeCase, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match="no-such-file"):
            case.runtime.load(tmp_path / "no-such-file.onnx", batch_size=case.batch_size)

    @pytest.mark.parametrize("content", [b"", b"this is not a model", bytes(range(256)) * 8])
    def test_garbage_is_refused(self, case: RuntimeCase, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "garbage.onnx"
        path.write_bytes(content)
        if content and not case.refuses_garbage:
            return
        with pytest.raises(ModelFileError, match="garbage"):
            case.runtime.load(path, batch_size=case.batch_size)

    def test_a_closed_session_says_so(self, case: RuntimeCase) -> None:
        session = self.load(case)
        inputs = self.inputs(session)
        session.close()
        session.close()
        with pytest.raises(RuntimeFailedError, match="closed"):
            session.run()
        with pytest.raises(RuntimeFailedError, match="closed"):
            session.infer(inputs)
