"""A device in memory: it reads the ONNX files of a job and times them by a law, with noise and overhead, through the real job
and measurement types."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from profilers.device_facts import DeviceFacts
from profilers.errors import RuntimeFailedError
from profilers.job import Job
from profilers.measurement import Measurement
from profilers.noise import Noise
from profilers.results import ResultsWriter, read_results
from profilers.runtimes.base import file_sha256
from profilers.target import Target
from tests.predictors.synthetic_device import FACTS, TARGET

_RUNS, _ROUNDS = 10, 5
_OVERHEAD_MS = 0.05


@dataclass
class FakeTransport:
    """Every model costs `seconds_per_model` of a clock that tests read; `dies_after` measurements the device is gone."""

    target: Target = TARGET
    seconds_per_model: float = 1.0
    dies_after: int | None = None
    seconds: float = 0.0
    measured: list[str] = field(default_factory=list)

    def clock(self) -> float:
        return self.seconds

    def facts(
        self,
        runtime: str = "onnxruntime",
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        power_mode: str = "default",
    ) -> tuple[DeviceFacts, Target]:
        return FACTS, self.target

    def noise(self, *, seconds: float) -> Noise:
        return Noise(
            variation=0.01,
            swing=0.02,
            slow_share=0.0,
            num_rounds=round(30 * seconds),
            facts=FACTS,
            conditions=(),
            warnings=(),
        )

    def run_job(
        self,
        job: Job,
        results_path: Path,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        timeout_s: float | None = None,
    ) -> list[Measurement]:
        results = read_results(results_path)
        known = {row.id: row for row in results.measurements}
        rows = []
        with ResultsWriter(results_path, results) as writer:
            for model in job.models:
                row = known.get(model.id)
                sha256 = file_sha256(Path(model.path))
                if row is None or row.model_sha256 != sha256:
                    if self.dies_after is not None and len(self.measured) >= self.dies_after:
                        raise RuntimeFailedError("the device must answer, but it is gone; connect it.")
                    row = self._measure(job, model.id, Path(model.path), sha256)
                    writer.append(row)
                rows.append(row)
                if on_event is not None:
                    on_event({"event": "measurement", "measurement": row.to_json(), "resumed": False})
        return rows

    def _measure(self, job: Job, name: str, path: Path, sha256: str) -> Measurement:
        self.seconds += self.seconds_per_model
        self.measured.append(name)
        rng = np.random.default_rng(len(self.measured))
        spikes = rng.exponential(0.02, (_ROUNDS, _RUNS))
        samples = 1e6 * graph_ms(path) * (1 + 0.005 * rng.standard_normal((_ROUNDS, 1)) + spikes)
        return Measurement(
            id=name,
            model_sha256=sha256,
            target=self.target,
            settings=job.settings,
            affinity=job.affinity,
            rounds=tuple(tuple(int(value) for value in row) for row in samples),
            runs_per_sample=1,
            num_warmup=1,
            load_ms=1.0,
            converged=True,
            warnings=(),
            facts=FACTS,
        )


def graph_ms(path: Path) -> float:
    """Time of a graph by its convolutions: the slower of computing and moving."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    total = _OVERHEAD_MS
    for node in model.graph.node:
        if node.op_type == "Conv":
            values = float(np.prod(shapes[node.output[0]]))
            macs = values * float(np.prod(weights[node.input[1]][1:]))
            total += 0.005 + max(macs / 4e6, values / 2e5)
    return total
