"""Where and with what a result was measured, in words: every script prints it beside its numbers."""

import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from profilers.device_facts import read_facts


def cpu() -> str:
    """Model and number of cores of this machine's processor."""
    facts = read_facts()
    return f"{facts.cpu_model}, {facts.num_cores} cores"


def circumstances(*packages: str) -> str:
    """Date, processor, and versions of Python and of the packages that are installed."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC | {cpu()} | python {platform.python_version()} {' '.join(_versions(packages))}".strip()


def _versions(packages: tuple[str, ...]) -> Iterator[str]:
    for package in packages:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
