"""An Android phone over adb: it has no Python, so the agent runs on this machine and drives a benchmark program there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilers.device_facts import DeviceFacts
from profilers.device_lock import device_lock
from profilers.engine_build import EngineBuild, EngineRequest
from profilers.errors import RuntimeNotInstalledError
from profilers.job import Job
from profilers.measurement import Measurement
from profilers.noise import Noise, measure_noise
from profilers.runtimes.phone import open_phone_runtime, phone_runtime_name
from profilers.runtimes.phone.connection import Phone, find_phone
from profilers.runtimes.phone.runtime import PhoneLoop, PhoneSampler
from profilers.runtimes.phone.state import facts_of, facts_script
from profilers.target import Target
from profilers.transports.agent_commands import NOISE_S
from profilers.transports.local import LocalTransport

if TYPE_CHECKING:
    from profilers.runtimes.base import Array


class AdbTransport:
    """A phone that the adb server of this machine knows; its runtimes are litert, onnxruntime and executorch."""

    def __init__(self, serial: str | None = None, tool: str | None = None) -> None:
        """Ask nothing of the phone yet.

        Args:
            serial: As `adb devices` lists it; the only phone there is by default.
            tool: Path of the benchmark program on the phone, by default in `/data/local/tmp` under its own name.
        """
        self._serial = serial
        self._tool = tool
        self._agent = LocalTransport()

    def facts(
        self,
        runtime: str = "litert",
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        power_mode: str = "default",
    ) -> tuple[DeviceFacts, Target]:
        return self._agent.facts(self._named(runtime), threads, precision, batch_size, power_mode)

    def noise(self, *, seconds: float) -> Noise:
        phone = Phone(find_phone(self._serial))
        with device_lock(phone.lock_name, wait_s=NOISE_S):
            return measure_noise(
                seconds,
                loop=lambda: PhoneLoop(phone),
                sampler=lambda: PhoneSampler(phone),
                read=lambda: facts_of(phone.run(facts_script()).output),
                cpu_times=lambda: None,
            )

    def run_job(
        self,
        job: Job,
        results_path: Path,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        timeout_s: float | None = None,
    ) -> list[Measurement]:
        return self._agent.run_job(replace(job, runtime=self._named(job.runtime)), results_path, on_event, timeout_s)

    def check_builds(self, runtime: str) -> None:
        raise _builds_nothing(runtime)

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
        raise _builds_nothing(request.runtime)

    def _named(self, runtime: str) -> str:
        """The name by which the agent opens a runtime on this phone."""
        name = phone_runtime_name(runtime, find_phone(self._serial), self._tool)
        open_phone_runtime(*name.split(":", 1))  # refused here rather than by the agent
        return name


def _builds_nothing(runtime: str) -> RuntimeNotInstalledError:
    return RuntimeNotInstalledError(
        f"engines are built on a device with TensorRT, but a phone came for {runtime!r}; export for litert, onnx or executorch."
    )
