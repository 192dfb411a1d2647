"""Measures model files on a device: numpy and one runtime, nothing else.

The folder can be copied alone to a board and run there with `python3 -m profilers`; it needs Python 3.8.
Names are imported when they are first used, so that `import profilers` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profilers.comparison import Comparison as Comparison
    from profilers.comparison import compare as compare
    from profilers.comparison import levels_ms as levels_ms
    from profilers.device_facts import DeviceFacts as DeviceFacts
    from profilers.errors import DeviceBusyError as DeviceBusyError
    from profilers.errors import JobError as JobError
    from profilers.errors import ModelFileError as ModelFileError
    from profilers.errors import ProfilerError as ProfilerError
    from profilers.errors import RuntimeFailedError as RuntimeFailedError
    from profilers.errors import RuntimeNotInstalledError as RuntimeNotInstalledError
    from profilers.errors import TransportError as TransportError
    from profilers.errors import WorkerDiedError as WorkerDiedError
    from profilers.job import Job as Job
    from profilers.job import ModelFile as ModelFile
    from profilers.measurement import Measurement as Measurement
    from profilers.measurement_warning import MeasurementWarning as MeasurementWarning
    from profilers.noise import Noise as Noise
    from profilers.noise import measure_noise as measure_noise
    from profilers.results import read_results as read_results
    from profilers.runtimes import open_runtime as open_runtime
    from profilers.settings import Settings as Settings
    from profilers.target import Target as Target
    from profilers.transports import open_transport as open_transport

_HOMES = {
    "Comparison": "comparison",
    "compare": "comparison",
    "levels_ms": "comparison",
    "DeviceFacts": "device_facts",
    "DeviceBusyError": "errors",
    "JobError": "errors",
    "ModelFileError": "errors",
    "ProfilerError": "errors",
    "RuntimeFailedError": "errors",
    "RuntimeNotInstalledError": "errors",
    "TransportError": "errors",
    "WorkerDiedError": "errors",
    "Job": "job",
    "ModelFile": "job",
    "Measurement": "measurement",
    "MeasurementWarning": "measurement_warning",
    "Noise": "noise",
    "measure_noise": "noise",
    "read_results": "results",
    "open_runtime": "runtimes",
    "Settings": "settings",
    "Target": "target",
    "open_transport": "transports",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
