"""What every transport must do; `class TestX(TransportContract)` gives the fixture `case` and inherits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from profilers.errors import RuntimeFailedError, RuntimeNotInstalledError, WorkerDiedError
from profilers.job import Job, ModelFile
from profilers.noise import Noise
from profilers.results import read_results
from profilers.settings import Settings
from profilers.transports.base import Transport

Events = list[dict[str, Any]]


@dataclass(frozen=True)
class TransportCase:
    """A transport to a device that is there, and what can be done to it."""

    transport: Transport
    runtime: str
    models: tuple[Path, Path, Path]
    refused: Path  # a file that the runtime does not take
    wrong_batch: Path | None  # a model of batches of 3; None where the device cannot tell
    quick: Settings
    slow: Settings  # under which one model takes seconds
    kill_worker: Callable[[], None]  # what runs the models on the device now
    num_processes: Callable[[], int]  # of ours, left on the device


class TransportContract:
    """Behaviour that callers rely on, whatever the way to the device."""

    def job(self, case: TransportCase, paths: list[Path], **changes: Any) -> Job:
        models = tuple(ModelFile(path.stem, path) for path in paths)
        return Job(**{"runtime": case.runtime, "models": models, "settings": case.quick, **changes})

    def test_a_device_says_what_it_is(self, case: TransportCase) -> None:
        facts, target = case.transport.facts(runtime=case.runtime, threads=1, precision="fp32", batch_size=1)
        assert facts.num_cores >= 1
        assert target.device == facts.device
        assert (target.threads, target.precision, target.batch_size) == (1, "fp32", 1)
        assert target.runtime_version

    def test_a_device_says_how_steady_it_is(self, case: TransportCase) -> None:
        noise = case.transport.noise(seconds=0.2)
        assert Noise.from_json(noise.to_json()) == noise

    def test_rows_come_in_order_and_stay(self, case: TransportCase, tmp_path: Path) -> None:
        results, events = tmp_path / "results.jsonl", Events()
        job = self.job(case, [case.models[1], case.models[0]])
        rows = case.transport.run_job(job, results, on_event=events.append)
        assert [row.id for row in rows] == [case.models[1].stem, case.models[0].stem]
        for row in rows:
            assert 0 < row.min_ms <= row.p25_ms <= row.median_ms
        _, target = case.transport.facts(runtime=case.runtime)
        assert {row.target for row in rows} == {target}
        assert {row.key for row in read_results(results).measurements} == {row.key for row in rows}
        assert (events[0]["event"], events[0]["num_models"]) == ("started", 2)
        assert events[-1] == {"event": "done", "num_measured": 2, "num_failed": 0}

        before = results.read_bytes()
        again = Events()
        assert case.transport.run_job(job, results, on_event=again.append) == rows
        assert results.read_bytes() == before
        assert [event["resumed"] for event in again if event["event"] == "measurement"] == [True, True]

        more = case.transport.run_job(self.job(case, list(case.models)), results)
        assert more[:2] == [rows[1], rows[0]]
        kept = [row.id for row in read_results(results).measurements]
        assert sorted(kept) == sorted(path.stem for path in case.models)

    def test_a_bad_model_harms_no_other(self, case: TransportCase, tmp_path: Path) -> None:
        results, events = tmp_path / "results.jsonl", Events()
        gone = tmp_path / "gone.onnx"
        bad = [path for path in (case.refused, case.wrong_batch, gone) if path is not None]
        rows = case.transport.run_job(self.job(case, [*bad, case.models[0]]), results, on_event=events.append)
        assert [row.id for row in rows] == [case.models[0].stem]
        failed = {event["id"]: event for event in events if event["event"] == "failed"}
        assert set(failed) == {path.stem for path in bad}
        assert failed["gone"]["error"] == "ModelFileError"
        assert str(gone) in failed["gone"]["message"]
        assert {failure.id for failure in read_results(results).failures} == set(failed)
        assert events[-1] == {"event": "done", "num_measured": 1, "num_failed": len(bad)}

    def test_nothing_measured_is_an_error(self, case: TransportCase, tmp_path: Path) -> None:
        with pytest.raises(RuntimeFailedError, match="must"):
            case.transport.run_job(self.job(case, [case.refused]), tmp_path / "results.jsonl")
        with pytest.raises(RuntimeFailedError, match="gone"):
            case.transport.run_job(self.job(case, [tmp_path / "gone.onnx"]), tmp_path / "results.jsonl")

    def test_a_runtime_that_is_not_there_is_named(self, case: TransportCase, tmp_path: Path) -> None:
        with pytest.raises(RuntimeNotInstalledError, match="warpspeed"):
            case.transport.facts(runtime="warpspeed")
        with pytest.raises(RuntimeNotInstalledError, match="warpspeed"):
            case.transport.run_job(self.job(case, [case.models[0]], runtime="warpspeed"), tmp_path / "results.jsonl")

    def test_a_job_that_takes_too_long_is_ended_and_can_be_continued(self, case: TransportCase, tmp_path: Path) -> None:
        results = tmp_path / "results.jsonl"
        endless = self.job(case, list(case.models), settings=replace(case.slow, cap_s=300.0))
        with pytest.raises(WorkerDiedError, match="after 2 s"):
            case.transport.run_job(endless, results, timeout_s=2)
        assert case.num_processes() == 0
        assert len(case.transport.run_job(self.job(case, list(case.models)), results)) == 3

    def test_an_interrupt_ends_the_job(self, case: TransportCase, tmp_path: Path) -> None:
        def interrupt(event: dict[str, Any]) -> None:
            if event["event"] == "progress":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            case.transport.run_job(
                self.job(case, list(case.models), settings=case.slow), tmp_path / "r.jsonl", on_event=interrupt
            )
        assert case.num_processes() == 0

    def test_a_killed_worker_costs_no_finished_row(self, case: TransportCase, tmp_path: Path) -> None:
        results, killed = tmp_path / "results.jsonl", []

        def kill_once(event: dict[str, Any]) -> None:
            if event["event"] == "progress" and event["stage"] == "round" and not killed:
                killed.append(event)
                case.kill_worker()

        rows = case.transport.run_job(self.job(case, list(case.models[:2]), settings=case.slow), results, on_event=kill_once)
        assert killed
        ids = [row.id for row in read_results(results).measurements]
        assert sorted(ids) == sorted(row.id for row in rows)
        assert len(set(ids)) == len(ids)
        again = case.transport.run_job(self.job(case, list(case.models[:2]), settings=case.slow), results)
        assert len(again) == 2
