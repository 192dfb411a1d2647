"""The case of the transport contract for devices that run ONNX Runtime in this machine's processes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from profilers.settings import Settings
from profilers.transports.base import Transport
from tests.contracts.transport_contract import TransportCase
from tests.profilers.processes import kill_workers, num_agents
from tests.profilers.small_models import write_model


def transport_case(transport: Transport, folder: Path, quick: Settings) -> TransportCase:
    """Small models in `folder`, which is the TMPDIR of everything that runs on the device."""
    garbage = folder / "garbage.onnx"
    garbage.write_bytes(b"garbage")
    return TransportCase(
        transport=transport,
        runtime="onnxruntime",
        models=(
            write_model(folder / "a.onnx"),
            write_model(folder / "b.onnx", repeats=1),
            write_model(folder / "c.onnx", repeats=2),
        ),
        refused=garbage,
        wrong_batch=write_model(folder / "three.onnx", batch=3),
        quick=quick,
        slow=replace(quick, half_width=1e-9, round_ms=20.0, cap_s=0.4),
        kill_worker=partial(kill_workers, folder),
        num_processes=partial(num_agents, folder),
    )
