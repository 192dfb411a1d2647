"""Fixtures for the tests of `profilers`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from profilers.device_facts import read_facts
from profilers.measurement import Measurement
from profilers.settings import Settings
from profilers.target import Target
from tests.profilers.small_models import write_model


@pytest.fixture
def linear_model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "linear.onnx")


@pytest.fixture
def quick() -> Settings:
    """Settings under which a tiny model takes a few hundredths of a second."""
    return Settings(half_width=0.5, round_ms=1.0, cap_s=0.2, warm_up_ms=2.0, warm_up_cap_s=0.1)


@pytest.fixture
def make_measurement() -> Callable[..., Measurement]:
    def make(id: str = "a", **changes: Any) -> Measurement:
        values: dict[str, Any] = {
            "id": id,
            "model_sha256": "0" * 64,
            "target": Target("board", "fake", "1", "fp32", threads=1),
            "settings": Settings(),
            "affinity": None,
            "rounds": ((1_000_000, 2_000_000, 3_000_000), (2_000_000, 2_000_000, 9_000_000)),
            "runs_per_sample": 1,
            "num_warmup": 7,
            "load_ms": 1.5,
            "converged": True,
            "warnings": (),
            "facts": read_facts("fake", "1"),
        }
        return Measurement(**{**values, **changes})

    return make
