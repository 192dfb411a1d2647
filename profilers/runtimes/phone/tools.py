"""The benchmark programs that run models on phones: how they are called, and what they print.

| runtime     | program                 | tells of the runs of a call                                   |
| litert      | `benchmark_model`       | their median where it prints percentiles (2025 on), else mean |
| onnxruntime | `onnxruntime_perf_test` | each run                                                      |
| executorch  | `executor_runner`       | their sum                                                     |

Every switch that changes times is passed, since defaults differ between versions.

Sources: the README of tensorflow/lite/tools/benchmark and its statistics line (`count=50 first=... curr=... avg=... std=...`, with
`p5= median= p95=` in newer builds, and `count=1 curr=...` of one run), all in us; onnxruntime/test/perftest, whose result file holds a line `model,seconds,bytes,percent,run` for each
run (switches `-I` and `-z`: 1.10 or newer); examples/portable/executor_runner of ExecuTorch, which logs "Model executed successfully
10 time(s) in 12.500000 ms." since it takes `--num_executions`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from profilers.errors import RuntimeFailedError

_NUMBER = r"[0-9.]+(?:e[+-]?[0-9]+)?"
_STATISTICS = re.compile(r"\bcount=(\d+) (.*\bcurr=.*)")
_VALUE = re.compile(rf"\b(median|avg|curr)=({_NUMBER})")
_RUN = re.compile(rf"^[^\n]*,({_NUMBER}),\d+,-?\d+,\d+$", re.MULTILINE)
_EXECUTED = re.compile(rf"Model executed successfully (\d+) time\(s\) in ({_NUMBER}) ms")
_MAX_WARM_UP_RUNS = 1000
RESULTS = ".times"  # ending of the file that a program writes beside the model


@dataclass(frozen=True)
class Call:
    """What a program is asked to do."""

    model: str  # path on the phone
    threads: int
    count: int
    warm_up_ms: float
    typical_ms: float | None  # of one run, as far as it is known
    open_dims: Mapping[str, int] = field(default_factory=dict)  # name -> size, of dimensions that the model leaves open

    @property
    def num_warm_up(self) -> int:
        """Runs that take about `warm_up_ms`, for programs that count runs only; the first run is one of them."""
        wanted = math.ceil(self.warm_up_ms / self.typical_ms) if self.typical_ms else 0
        return min(_MAX_WARM_UP_RUNS, 1 + wanted)


class Program(Protocol):
    """A program on a phone."""

    def run(self, arguments: Sequence[str], *, result_file: str | None = None) -> str:
        """Return what it printed, or the text of the file that it wrote; raise RuntimeFailedError when it failed."""


class Tool(Protocol):
    """How a program is driven."""

    name: str

    def time_runs(self, program: Program, call: Call) -> tuple[int, ...]:
        """Run a model and return ns of each run, or one figure for a run of the call.

        Raises:
            RuntimeFailedError: The program failed, or printed something else than it should.
        """


class BenchmarkModel:
    """LiteRT's."""

    name = "benchmark_model"

    def time_runs(self, program: Program, call: Call) -> tuple[int, ...]:
        output = program.run(
            [
                f"--graph={call.model}",
                f"--num_threads={call.threads}",
                "--use_xnnpack=true",
                "--warmup_runs=1",
                f"--warmup_min_secs={call.warm_up_ms / 1000:g}",
                f"--num_runs={call.count}",
                "--min_secs=0",
            ]
        )
        return (parse_benchmark_model(output, call.count),)


class PerfTest:
    """ONNX Runtime's; its verbose mode would print each run too, but logs inside the runs."""

    name = "onnxruntime_perf_test"

    def time_runs(self, program: Program, call: Call) -> tuple[int, ...]:
        result_file = f"{call.model}{RESULTS}"
        num_warm_up = call.num_warm_up - 1  # one it makes unasked
        dims = [word for name, size in call.open_dims.items() for word in ("-f", f"{name}:{size}")]
        fixed = ["-e", "cpu", "-x", str(call.threads), "-y", "1", "-o", "99", "-z", "-I", *dims]
        wanted = ["-m", "times", "-r", str(num_warm_up + call.count), call.model, result_file]
        times = parse_perf_test(program.run([*fixed, *wanted], result_file=result_file))
        if len(times) != num_warm_up + call.count:
            raise RuntimeFailedError(
                f"{self.name} must write the times of {num_warm_up + call.count} runs, but it wrote {len(times)}; "
                "try another version of it."
            )
        return times[num_warm_up:]


class ExecutorRunner:
    """ExecuTorch's; it knows no warm-up, so runs are what a longer call takes more than a shorter one."""

    name = "executor_runner"
    _TRIES = 3  # a disturbed shorter call may take longer than the longer one

    def time_runs(self, program: Program, call: Call) -> tuple[int, ...]:
        if call.warm_up_ms == 0:
            return (max(1, round(self._total_ns(program, call, call.count) / call.count)),)
        for _ in range(self._TRIES):
            short_ns = self._total_ns(program, call, call.num_warm_up)
            long_ns = self._total_ns(program, call, call.num_warm_up + call.count)
            if long_ns > short_ns:
                return (max(1, round((long_ns - short_ns) / call.count)),)
        raise RuntimeFailedError(
            f"{call.count} runs more must take {self.name} longer, but {self._TRIES} times they did not; let the phone rest."
        )

    def _total_ns(self, program: Program, call: Call, count: int) -> float:
        output = program.run([f"--model_path={call.model}", f"--num_executions={count}", f"--cpu_threads={call.threads}"])
        return parse_executor_runner(output, count)


def tool_of(runtime: str) -> Tool | None:
    """The program that runs models of a runtime; None where there is none for phones."""
    tools: dict[str, Tool] = {"litert": BenchmarkModel(), "onnxruntime": PerfTest(), "executorch": ExecutorRunner()}
    return tools.get(runtime)


RUNTIMES = ("litert", "onnxruntime", "executorch")


def parse_benchmark_model(output: str, count: int) -> int:
    """ns of a run, of so many; the statistics line of the warm-up stands before that of the runs.

    Raises:
        RuntimeFailedError: There are no statistics, or of another number of runs.
    """
    found = _STATISTICS.findall(output)
    if len(found) < 2 or int(found[-1][0]) != count:
        seen = f"{found[-1][0]} runs" if len(found) >= 2 else "none"
        raise RuntimeFailedError(
            f"benchmark_model must print the statistics of {count} runs after those of the warm-up, but it printed {seen}; "
            "try another version of it."
        )
    values = dict(_VALUE.findall(found[-1][1]))
    us = values.get("median") or values.get("avg") or values["curr"]  # of one run, and of equal ones, only `curr` is printed
    return max(1, round(float(us) * 1000))


def parse_perf_test(results: str) -> tuple[int, ...]:
    """ns of every run in a result file."""
    return tuple(max(1, round(float(seconds) * 1e9)) for seconds in _RUN.findall(results))


def parse_executor_runner(output: str, count: int) -> float:
    """ns of all runs of a call together.

    Raises:
        RuntimeFailedError: It does not say how long they took.
    """
    found = _EXECUTED.search(output)
    if found is None or int(found.group(1)) != count:
        raise RuntimeFailedError(
            f"executor_runner must print how long {count} runs took, but it did not; build a newer one, and for printing to the "
            "terminal instead of to logcat."
        )
    return float(found.group(2)) * 1e6
