"""Keeps what a device far away reports: every finished row reaches the results file here, and only once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from profilers.agent import checked_model
from profilers.errors import ModelFileError, ProfilerError, error_named, nothing_measured
from profilers.job import Job, ModelFile
from profilers.measurement import Measurement
from profilers.results import Failure, Results, ResultsWriter, results_line
from profilers.target import Target


class Delivery:
    """The events of one job on their way to a results file and to the caller."""

    def __init__(self, job: Job, results: Results, writer: ResultsWriter, emit: Callable[[dict[str, Any]], None]) -> None:
        """Look at the files of the job, and at what the results file held when it was opened for appending.

        Raises:
            RuntimeFailedError: There is not one file that could be measured.
        """
        self._asked = job
        self._results = results
        self._writer = writer
        self._emit = emit
        self._kept = {row.key for row in results.measurements}
        self._measured: dict[str, Measurement] = {}
        self._new: list[Measurement] = []
        self._failed: set[str] = set()
        self._refused: dict[str, str] = {}  # files that cannot be sent: id -> message
        self._error: ProfilerError | None = None
        self._target = ""  # key; the device tells it when it starts
        self.job = self._with_files()

    def rows(self) -> str:
        """Lines of the results file that the device need not measure again, if its target is theirs."""
        asked = {(model.id, model.sha256) for model in self.job.models}
        return "".join(
            results_line(row).decode("utf-8")
            for row in (*self._results.measurements, *self._new)
            if (row.id, row.model_sha256) in asked and (row.settings, row.affinity) == (self.job.settings, self.job.affinity)
        )

    def take(self, event: dict[str, Any]) -> None:
        """Keep a row, then tell the caller; what comes again after a broken connection is passed over.

        Raises:
            JobError: The row cannot be kept.
        """
        kind = event.get("event")
        if kind == "error":
            self._error = error_named(str(event.get("error")), str(event.get("message")))
        elif kind == "measurement":
            self._keep(event)
        elif kind == "failed":
            model = next((model for model in self.job.models if model.id == event["id"]), None)
            self._fail(event, None if model is None else model.sha256)
        elif kind == "started":
            self._target = Target.from_json(event["target"]).key
            self._emit({**event, "num_models": len(self._asked.models)})
            for id, message in self._refused.items():
                self._fail({"event": "failed", "id": id, "error": "ModelFileError", "message": message}, None)
        elif kind == "done":
            self._emit({**event, "num_failed": event["num_failed"] + len(self._refused)})
        else:
            self._emit(event)

    def measurements(self) -> list[Measurement]:
        """Return what was measured, in the order of the job.

        Raises:
            ProfilerError: The agent ended with this error.
        """
        if self._error is not None:
            raise self._error
        return [self._measured[model.id] for model in self._asked.models if model.id in self._measured]

    def _keep(self, event: dict[str, Any]) -> None:
        row = Measurement.from_json(event["measurement"])
        if row.id in self._measured:
            return
        self._measured[row.id] = row
        is_new = row.key not in self._kept
        if is_new:
            self._writer.append(row)
            self._kept.add(row.key)
            self._new.append(row)
        self._emit({**event, "resumed": not is_new})

    def _fail(self, event: dict[str, Any], sha256: str | None) -> None:
        if event["id"] not in self._failed:
            self._failed.add(event["id"])
            self._writer.append(Failure(event["id"], sha256, self._target, event["message"]))
            self._emit(event)

    def _with_files(self) -> Job:
        """Return the job with the models that are there, and the SHA-256 of each."""
        models: list[ModelFile] = []
        for model in self._asked.models:
            try:
                models.append(checked_model(model))
            except ModelFileError as error:
                self._refused[model.id] = str(error)
        if not models:
            raise nothing_measured(self._refused)
        reference = self._asked.reference
        return self._asked.with_models(models, reference=None if reference in self._refused else reference)
