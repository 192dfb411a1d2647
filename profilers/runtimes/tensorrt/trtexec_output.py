"""What trtexec 8.x, 10.x and 11.x print and export, as one record."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from profilers.errors import RuntimeFailedError

_PARTS = {"gpu": "GPU Compute Time", "enqueue": "Enqueue Time", "copy_in": "H2D Latency", "copy_out": "D2H Latency"}
_NO_GRAPH = ("CUDA graph capture on the stream has failed", "--useCudaGraph flag has been ignored")


@dataclass(frozen=True)
class TrtexecReport:
    """What trtexec printed about one call; None and empty where it did not come so far."""

    version: str | None  # "8.5.2"
    passed: bool
    gpu: str | None
    compute_capability: str | None
    throughput_qps: float | None
    median_ms: dict[str, float]  # "gpu", "enqueue", and with transfers "copy_in" and "copy_out"
    lost_cuda_graph: bool  # it could not capture one and went on without
    errors: tuple[str, ...]


def parse_report(text: str) -> TrtexecReport:
    """Read standard output and standard error of one call; the layout of the lines did not change since 8.0."""
    errors = [line.partition("[E]")[2].strip() for line in text.splitlines() if "[E]" in line]
    medians = {part: _number(rf"\[I\] {name}: .*?median = ([0-9.e+-]+) ms", text) for part, name in _PARTS.items()}
    return TrtexecReport(
        version=_version(text),
        passed="&&&& PASSED" in text,
        gpu=_word(r"Selected Device: (.+)", text),
        compute_capability=_word(r"Compute Capability: ([0-9.]+)", text),
        throughput_qps=_number(r"Throughput: ([0-9.e+-]+) qps", text),
        median_ms={part: value for part, value in medians.items() if value is not None},
        lost_cuda_graph=any(words in text for words in _NO_GRAPH),
        errors=tuple(error for error in errors if error),
    )


@dataclass(frozen=True)
class TrtexecRun:
    """One timed run, in ns."""

    gpu: int
    copy_in: int
    copy_out: int
    enqueue: int
    end: int  # when its last work ended, on the clock of the call


def parse_times(text: str, warm_up_ms: float) -> tuple[TrtexecRun, ...]:
    """Read the file of `--exportTimes`; versions before 8.5 wrote the runs of the warm-up into it too.

    Raises:
        RuntimeFailedError: It is not such a file, or holds no runs.
    """
    try:
        rows = json.loads(text)
        runs = tuple(_run(row) for row in rows if float(row["startComputeMs"]) >= warm_up_ms)
    except (ValueError, KeyError, TypeError) as error:
        raise RuntimeFailedError(
            f"trtexec must export its times as it documents, but they cannot be read ({error}); use another version of it."
        ) from error
    if not runs:
        raise RuntimeFailedError("trtexec must export at least one run after its warm-up, but it exported none; run it again.")
    return runs


def _run(row: dict[str, Any]) -> TrtexecRun:
    return TrtexecRun(
        gpu=_ns(row["computeMs"]),
        copy_in=_ns(row["h2dMs"]),
        copy_out=_ns(row["d2hMs"]),
        enqueue=_ns(float(row["endEnqMs"]) - float(row["startEnqMs"])),
        end=_ns(row["endD2hMs"]),
    )


def _ns(milliseconds: float) -> int:
    return round(float(milliseconds) * 1e6)


def _version(text: str) -> str | None:
    """From `TensorRT version: 8.5.2`, or from the first line, which all calls print: `[TensorRT v8502]`, `[TensorRT v100300]`."""
    named = _word(r"TensorRT version: ([0-9]+\.[0-9]+\.[0-9]+)", text)
    digits = _word(r"\[TensorRT v([0-9]{4,6})\]", text)
    if named or digits is None:
        return named
    if len(digits) == 4:
        return f"{digits[0]}.{digits[1]}.{int(digits[2:])}"
    number = int(digits)
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _word(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found.group(1).strip() if found else None


def _number(pattern: str, text: str) -> float | None:
    found = _word(pattern, text)
    return None if found is None else float(found)
