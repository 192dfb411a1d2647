"""Commands that every transport gives the agent, and how their one answer is read."""

from __future__ import annotations

from typing import Any

from profilers.device_facts import DeviceFacts
from profilers.errors import TransportError
from profilers.noise import Noise
from profilers.target import Target

FACTS_S = 120.0  # a runtime of a GPU takes its time to start
NOISE_S = 120.0  # beside the seconds asked for: starting, and waiting for another profiler


def facts_command(runtime: str, threads: int, precision: str, batch_size: int, power_mode: str) -> list[str]:
    """Arguments of `python3 -m profilers` that ask what a device is."""
    flags = ["--runtime", runtime, "--threads", str(threads), "--precision", precision]
    return ["facts", *flags, "--batch-size", str(batch_size), "--power-mode", power_mode, "--json"]


def facts_of(answers: list[dict[str, Any]]) -> tuple[DeviceFacts, Target]:
    """Read what `facts_command` made the agent print.

    Raises:
        TransportError: It is something else.
        JobError: The facts are of another version of this package.
    """
    if len(answers) != 1 or set(answers[0]) != {"facts", "target"}:
        raise TransportError("the agent must answer with its facts, but something else came; copy 'profilers' again.")
    return DeviceFacts.from_json(answers[0]["facts"]), Target.from_json(answers[0]["target"])


def noise_command(seconds: float) -> list[str]:
    """Arguments of `python3 -m profilers` that ask how steady a device is."""
    return ["noise", "--seconds", str(seconds), "--json"]


def noise_of(answers: list[dict[str, Any]]) -> Noise:
    """Read what `noise_command` made the agent print.

    Raises:
        TransportError: It is something else.
    """
    if len(answers) != 1:
        raise TransportError("the agent must answer with its noise, but something else came; copy 'profilers' again.")
    return Noise.from_json(answers[0])
