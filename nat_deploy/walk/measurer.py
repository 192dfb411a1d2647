"""How a search measures on a device."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nat_deploy.errors import MeasurementError
from nat_deploy.profiling import Device, measure_architectures
from nat_deploy.spaces import Architecture, SearchSpace
from profilers import Measurement, Settings, Target

QUICK = Settings.preset("fast")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMeasurer:
    """Measures architectures in sittings; each has a folder of its own by its name, where a broken-off one is taken up again.

    target      that of the latency table: latencies of another do not compare with it
    exact       for sittings that decide; others are measured with `QUICK`
    """

    device: Device
    space: SearchSpace
    target: Target
    folder: Path
    exact: Settings

    def __call__(self, architectures: Sequence[Architecture], *, sitting: str, exact: bool) -> list[Measurement]:
        """Measure architectures interleaved, in order.

        Raises:
            DeviceError: The device cannot measure here.
            MeasurementError: It gave no usable measurement, or is no longer the target of its table.
        """
        measured = measure_architectures(
            self.device,
            self.space,
            architectures,
            work_dir=self.folder / sitting,
            settings=self.exact if exact else QUICK,
        )
        strange = next((found.target.key for found in measured if found.target != self.target), None)
        if strange is not None:
            raise MeasurementError(
                f"device '{self.device.name}' must be '{self.target.key}', as its latency table says, but it is '{strange}' now; "
                "profile it again and start a new run"
            )
        return measured
