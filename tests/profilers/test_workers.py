"""What happens when a model hangs or takes its process with it must be the same whatever runs the models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from profilers.agent import measure_job
from profilers.job import Job, ModelFile
from profilers.measurement import Measurement
from profilers.results import Results, ResultsWriter, read_results
from profilers.runtimes.base import file_sha256
from profilers.settings import Settings
from tests.profilers import troubled_worker
from tests.profilers.fake_phone import FakePhone
from tests.profilers.opened_runtimes import NAMES, RECORDING, open_for_test, write_model_for

PACKAGES = {"openvino": "openvino", "litert": "ai_edge_litert", "executorch": "executorch", "phone": "adbutils"}


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for what runtimes need, with a phone behind it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("profilers.agent._POLL_S", 0.1)
    phone = FakePhone(tmp_path / "phone")
    phone.install("benchmark_model")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(phone.port))
    yield tmp_path
    phone.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_hang_and_a_death_cost_only_the_culprits(
    name: str, device: Path, quick: Settings, make_measurement: Callable[..., Measurement]
) -> None:
    pytest.importorskip(PACKAGES.get(name, "numpy"))
    # ExecuTorch takes seconds to import, in every worker; what hangs there is left to the others.
    troubles = ("dies",) if name == "executorch" else ("hangs", "dies")
    paths = [write_model_for(name, device / stem) for stem in (*troubles, "good")]
    with ResultsWriter(device / RECORDING, Results()) as writer:
        writer.append(make_measurement(model_sha256=file_sha256(paths[-1])))
    runtime = open_for_test(name, device)
    runtime.longest_load_s = 60.0  # type: ignore[attr-defined]
    models = tuple(ModelFile(path.stem, path) for path in paths)
    job = Job(runtime.name, models, settings=replace(quick, stall_s=3.0), group_size=1)
    events: list[dict[str, Any]] = []
    measure_job(
        job,
        device / "results.jsonl",
        events.append,
        runtime_named=lambda _: runtime,
        worker_command=[sys.executable, troubled_worker.__file__, name, str(device)],
    )
    results = read_results(device / "results.jsonl")
    assert [row.id for row in results.measurements] == ["good"]
    told = {failure.id: failure.message for failure in results.failures}
    assert set(told) == set(troubles)
    assert "hangs" not in told or "must report within 3 s, but it hung while it measured 'hangs'" in told["hangs"]
    assert "it died (signal 9) while it measured 'dies'" in told["dies"]
    assert {event["error"] for event in events if event["event"] == "failed"} == {"WorkerDiedError"}
