"""The seam to the software that runs models.

To add a runtime: one file here with a `Runtime` and a `CheckedSession`, one line in the registry, and a test
class that inherits `RuntimeContract`.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from profilers.device_facts import DeviceFacts, read_facts
from profilers.errors import ModelFileError, RuntimeFailedError

if TYPE_CHECKING:
    from numpy.typing import NDArray  # not in the numpy of older boards

    Array = NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """Shape and type of one input, with the batch filled in."""

    shape: tuple[int, ...]
    dtype: str  # numpy name: "float32"


class Session(Protocol):
    """One loaded model."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Input name -> what it must be given."""

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on the given inputs.

        Returns:
            Output name -> array that the caller may keep.

        Raises:
            RuntimeFailedError: Names, shapes or types do not fit, the session is closed, or it broke.
        """

    def run(self) -> object:
        """Run once on seeded random inputs made when the model was loaded; this is what is timed."""

    def close(self) -> None:
        """Free the model; closing twice is allowed."""

    def __enter__(self) -> Session: ...  # noqa: PYI034 - typing.Self came after Python 3.8

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Runtime(Protocol):
    """Software that runs models."""

    @property
    def name(self) -> str:
        """Name in targets: "onnxruntime"."""

    @property
    def clock(self) -> Callable[[], int]:
        """Monotonic time in ns that moves while sessions run."""

    def check_available(self) -> None:
        """Raises: RuntimeNotInstalledError when the software is not on this device."""

    def version(self) -> str:
        """Raises: RuntimeNotInstalledError when the software is not on this device."""

    def load(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        seed: int = 0,
        flush_denormals: bool = False,
    ) -> Session:
        """Load a model.

        Args:
            path: The file, ONNX or what else the runtime reads.
            threads: Threads inside one operator.
            precision: What the graph computes in; runtimes that cannot convert ignore it.
            batch_size: Fills a leading dimension that the graph leaves open.
            seed: Of the inputs that `run` uses.
            flush_denormals: Compute with zeros for denormals. It changes the arithmetic of the whole process, so ask for it only
                in a process that does nothing else.

        Raises:
            ModelFileError: The file is missing, is not a model, or does not take this batch.
            RuntimeNotInstalledError: The software is not on this device.
            RuntimeFailedError: The runtime refused the model.
        """


@runtime_checkable
class HasTimingMode(Protocol):
    """A runtime that can run and time in several ways."""

    @property
    def mode(self) -> str:
        """Name of the way, which goes into the target."""


@runtime_checkable
class HasAccelerator(Protocol):
    """A runtime whose models do not run on the CPU."""

    def accelerator(self) -> str | None:
        """Name of the chip, or None where it is part of the board."""


@runtime_checkable
class LoadsSlowly(Protocol):
    """A runtime that says nothing for long while it loads a model, because it compiles it."""

    @property
    def longest_load_s(self) -> float:
        """After so long it may be taken to hang."""


@runtime_checkable
class OnAnotherDevice(Protocol):
    """A runtime that drives a device which cannot run this package; what this machine is like says nothing about it."""

    @property
    def lock_name(self) -> str:
        """Who holds this lock of this machine has the device alone."""

    def facts(self) -> DeviceFacts:
        """Read the facts of the device."""

    def bind(self, affinity: tuple[int, ...] | None) -> None:
        """Run models on these CPUs of the device from now on; None leaves them free.

        Raises:
            JobError: The device does not have them.
        """


def timing_mode_of(runtime: object) -> str:
    """Name of the timing mode in a target."""
    return runtime.mode if isinstance(runtime, HasTimingMode) else "default"


def facts_for(runtime: Runtime) -> DeviceFacts:
    """Read the facts of the device that a runtime runs models on."""
    if isinstance(runtime, OnAnotherDevice):
        return runtime.facts()
    accelerator = runtime.accelerator() if isinstance(runtime, HasAccelerator) else None
    return replace(read_facts(runtime.name, runtime.version()), accelerator=accelerator)


def lock_name_for(runtime: Runtime, device: str) -> str:
    """Name of the lock that holds the device on which a runtime runs models."""
    return runtime.lock_name if isinstance(runtime, OnAnotherDevice) else device


class CheckedSession(ABC):
    """A session that checks at one border, so that runtimes write only `_infer`, `_run` and `_close`."""

    def __init__(self, name: str, inputs: Mapping[str, TensorSpec], *, seed: int) -> None:
        self.name = name  # for messages
        self.inputs = dict(inputs)
        self._made_inputs = random_inputs(self.inputs, seed)
        self._is_open = True

    @abstractmethod
    def _infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on checked inputs."""

    @abstractmethod
    def _run(self) -> object:
        """Run once on `_made_inputs`; raise RuntimeFailedError when the runtime breaks."""

    def _close(self) -> None:
        """Free the model; runtimes that hold more add to this."""
        self._made_inputs = {}

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._check_open()
        self._check_inputs(inputs)
        return self._infer(inputs)

    def run(self) -> object:
        self._check_open()
        return self._run()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._close()

    def __enter__(self) -> CheckedSession:  # noqa: PYI034 - typing.Self came after Python 3.8
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise RuntimeFailedError(f"the session of {self.name!r} must be open to run, but it was closed; load it again.")

    def _check_inputs(self, inputs: Mapping[str, Array]) -> None:
        if set(inputs) != set(self.inputs):
            raise RuntimeFailedError(
                f"{self.name!r} takes the inputs {sorted(self.inputs)}, but {sorted(inputs)} came; pass exactly those."
            )
        for name, spec in self.inputs.items():
            came = inputs[name]
            if tuple(came.shape) != spec.shape or came.dtype.name != spec.dtype:
                raise RuntimeFailedError(
                    f"input {name!r} of {self.name!r} must be {spec.dtype} of shape {spec.shape}, but "
                    f"{came.dtype.name} of shape {tuple(came.shape)} came; convert it."
                )


def random_inputs(specs: Mapping[str, TensorSpec], seed: int) -> dict[str, Array]:
    """Make seeded inputs: normal for floats, 0 or 1 for others (safe as index and as mask).

    Not zeros: zeros and denormals change power and sometimes speed. One set is made and used in every run.
    """
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.standard_normal(spec.shape, dtype=np.float32)
            if np.issubdtype(np.dtype(spec.dtype), np.floating)
            else rng.integers(0, 2, size=spec.shape)
        ).astype(spec.dtype)
        for name, spec in specs.items()
    }


def fill_shape(name: str, model: str, dims: tuple[int | None, ...], batch_size: int) -> tuple[int, ...]:
    """Fill an open leading dimension with the batch size.

    Raises:
        ModelFileError: Another dimension is open, or the leading one is fixed to another batch.
    """
    if any(dim is None for dim in dims[1:]):
        raise ModelFileError(
            f"input {name!r} of {model!r} may leave only its first dimension open, but its shape is "
            f"{tuple('?' if dim is None else dim for dim in dims)}; export it with fixed sizes."
        )
    shape = tuple(batch_size if dim is None else dim for dim in dims)
    if shape and shape[0] != batch_size:
        raise ModelFileError(
            f"input {name!r} of {model!r} must take batches of {batch_size}, but its first dimension is "
            f"fixed to {shape[0]}; export it with an open batch or ask for batch_size={shape[0]}."
        )
    if math.prod(shape) == 0:
        raise ModelFileError(f"input {name!r} of {model!r} must hold values, but its shape is {shape}; export it again.")
    return shape


def check_model_file(path: Path) -> None:
    """Raises: ModelFileError unless the path is a file that is not empty."""
    if not path.is_file() or path.stat().st_size == 0:
        raise ModelFileError(f"a model must be a file that is not empty, but {str(path)!r} is not; check the path.")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a model file in hex.

    Raises:
        ModelFileError: The file is missing, empty or cannot be read.
    """
    check_model_file(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise ModelFileError(f"the model {str(path)!r} must be readable, but it is not ({error}); check its rights.") from error
    return digest.hexdigest()


def one_line(error: BaseException) -> str:
    """The message of somebody else's error, short enough to stand in a sentence."""
    return " ".join(str(error).split())[:300]
