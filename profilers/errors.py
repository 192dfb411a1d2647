"""Errors of this package.

ProfilerError
├── ModelFileError             a model file is missing, is not a model, or does not fit the job
├── RuntimeNotInstalledError   the software that runs models is not on this device
├── RuntimeFailedError         the runtime refused or broke while loading or running a model
├── DeviceBusyError            another profiler holds the device
├── JobError                   a job or results file, or a value in it, is not what it must be
├── WorkerDiedError            the process that measures crashed, hung or was killed
└── TransportError             the device cannot be reached

Every message is one sentence: what must hold, what came, what to do.
"""

from __future__ import annotations

from typing import Mapping


class ProfilerError(Exception):
    """Base of all errors that a caller is meant to catch and show without a traceback."""


class ModelFileError(ProfilerError):
    """A model file is missing, is not a model, or does not fit the job."""


class RuntimeNotInstalledError(ProfilerError):
    """The software that runs models is not on this device."""


class RuntimeFailedError(ProfilerError):
    """The runtime refused or broke while loading or running a model."""


class DeviceBusyError(ProfilerError):
    """Another profiler holds the device."""


class JobError(ProfilerError):
    """A job or results file, or a value in it, is not what it must be."""


class WorkerDiedError(ProfilerError):
    """The process that measures crashed, hung or was killed."""


class TransportError(ProfilerError):
    """The device cannot be reached."""


_BY_NAME = {
    error.__name__: error
    for error in (ModelFileError, RuntimeNotInstalledError, RuntimeFailedError, DeviceBusyError,
                  JobError, WorkerDiedError, TransportError)
}  # fmt: skip


def error_named(name: str, message: str) -> ProfilerError:
    """Rebuild an error that crossed a process border as its class name and message."""
    return _BY_NAME.get(name, ProfilerError)(message)


def nothing_measured(failures: Mapping[str, str]) -> RuntimeFailedError:
    """Return the error of a job in which every model failed; with one model its own sentence says it best."""
    message = next(iter(failures.values()))
    if len(failures) == 1:
        return RuntimeFailedError(message)
    return RuntimeFailedError(f"at least one model must be measured, but all {len(failures)} failed: {message}")
