"""The seam to a device: how a job gets there and measurements come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from profilers.device_facts import DeviceFacts
    from profilers.engine_build import EngineBuild, EngineRequest
    from profilers.job import Job
    from profilers.measurement import Measurement
    from profilers.noise import Noise
    from profilers.runtimes.base import Array
    from profilers.target import Target


class Transport(Protocol):
    """A way to one device."""

    def facts(
        self,
        runtime: str = "onnxruntime",
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        power_mode: str = "default",
    ) -> tuple[DeviceFacts, Target]:
        """Ask what the device is, and which target a job like this would run on.

        Raises:
            RuntimeNotInstalledError: The runtime is not on the device.
            JobError: The device has no such power mode, or is in another one and may not be put into it.
            TransportError: The device cannot be reached.
        """

    def noise(self, *, seconds: float) -> Noise:
        """Watch on the device itself, for about so many seconds, how steadily it runs.

        Raises:
            DeviceBusyError: Another profiler is measuring there, and was not done in time.
            TransportError: The device cannot be reached.
        """

    def run_job(
        self,
        job: Job,
        results_path: Path,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        timeout_s: float | None = None,
    ) -> list[Measurement]:
        """Measure the models of a job on the device.

        Args:
            job: What to measure.
            results_path: Where finished rows are kept on this machine; rows it holds are not measured again.
            on_event: Takes every event of the agent, failures too (see `profilers.agent`).
            timeout_s: For the whole job; finished rows are kept. None waits as long as the device reports.

        Returns:
            Measurements in the order of the job, without the models that failed.

        Raises:
            RuntimeFailedError: Not one model could be measured.
            WorkerDiedError: The agent died, hung, or was not done in time.
            ProfilerError: Any other error of the agent, as the class it was on the device.
        """

    def check_builds(self, runtime: str) -> None:
        """Ask whether the device can build engines.

        Raises:
            RuntimeNotInstalledError: Something is missing on the device.
            TransportError: The device cannot be reached.
        """

    def build_engine(
        self,
        request: EngineRequest,
        model: Path,
        engine: Path,
        *,
        inputs: Mapping[str, Array] | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        timeout_s: float | None = None,
    ) -> EngineBuild:
        """Build an engine on the device, and bring it here with its record beside it.

        Args:
            request: What to build.
            model: The ONNX file, on this machine.
            engine: The file to write, on this machine.
            inputs: Arrays of n items by input name that the engine is run on, where it can.
            on_event: Takes every event of the agent.
            timeout_s: For the whole build.

        Raises:
            RuntimeNotInstalledError: What building needs is not on the device.
            ModelFileError: The device's runtime does not read the model.
            RuntimeFailedError: It cannot build or run the engine.
            WorkerDiedError: The agent died, hung, or was not done in time.
            TransportError: The device cannot be reached.
        """
