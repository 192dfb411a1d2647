"""An agent for the models of `lifelike_worker`; takes a job file and a results file; run as a script."""

from __future__ import annotations

import sys
from pathlib import Path

from profilers.agent import measure_job
from profilers.job import load_job
from profilers.strict_json import dumps
from tests.profilers.lifelike_worker import LifelikeRuntime

if __name__ == "__main__":
    measure_job(
        load_job(Path(sys.argv[1])),
        Path(sys.argv[2]),
        lambda event: print(dumps(event), flush=True),
        runtime_named=lambda name: LifelikeRuntime(),
        worker_command=[sys.executable, str(Path(__file__).with_name("lifelike_worker.py"))],
    )
