"""TensorRT through its command `trtexec`, for boards whose Python has no bindings.

What trtexec can do is read off its help, and every switch is passed: CUDA graph, transfers and spin-wait changed their defaults
between 10 and 11. Samples are those of its CUDA events (mode "gpu") or the distances between the ends of its runs (mode
"throughput"); it does not time a caller who waits for each run. Each call of trtexec is one start of a process, so the rounds of
a measurement share calls: about 100 ms of runs come from one call.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from profilers.errors import JobError, ModelFileError, RuntimeFailedError, RuntimeNotInstalledError
from profilers.onnx_inputs import OnnxInput, read_inputs
from profilers.runtimes.base import CheckedSession, TensorSpec, file_sha256
from profilers.runtimes.fake import VirtualClock
from profilers.runtimes.tensorrt.builder import AVG_TIMING_ITERATIONS, BUILD_S, LEVEL, BuiltEngine
from profilers.runtimes.tensorrt.cuda import Cuda
from profilers.runtimes.tensorrt.engine_record import EngineRecord
from profilers.runtimes.tensorrt.timing_mode import TimingMode
from profilers.runtimes.tensorrt.trtexec_output import TrtexecReport, TrtexecRun, parse_report, parse_times

if TYPE_CHECKING:
    from profilers.runtimes.base import Array

_PLACES = ("/usr/src/tensorrt/bin/trtexec",)  # where JetPack and Debian packages put it, outside of PATH
_RUN_S = 300.0
_WARM_UP_MS = 200
_CALL_NS = 100_000_000
_MIN_RUNS, _MAX_RUNS = 20, 2000


def find_trtexec() -> str | None:
    """Return the path of trtexec, or None where there is none."""
    return shutil.which("trtexec") or next((place for place in _PLACES if os.access(place, os.X_OK)), None)


class TrtexecRuntime:
    """Drives trtexec; the version in the target says so, since its figures are not quite those of the bindings."""

    name = "tensorrt"

    def __init__(self, program: str, words: str = "") -> None:
        """Raises: JobError when the timing mode is wrong, or one that trtexec does not time."""
        self._program = program
        self._mode = TimingMode.parse(words, TimingMode(measure="gpu"))
        if self._mode.measure == "latency":
            raise JobError(
                "the timing mode must be 'gpu' or 'throughput' where only trtexec is there, but 'latency' came; "
                "change it, or install TensorRT's Python bindings."
            )
        self._help = ""
        self.clock = VirtualClock()

    longest_load_s = BUILD_S

    @property
    def mode(self) -> str:
        return self._mode.name

    def check_available(self) -> None:
        self._helped()
        Cuda.load()

    def version(self) -> str:
        return f"{parse_report(self._helped()).version or 'unknown'} trtexec"

    def accelerator(self) -> str | None:
        gpu = Cuda.load().gpu()
        return None if gpu.is_integrated else gpu.name

    def load(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        seed: int = 0,
        flush_denormals: bool = False,
    ) -> TrtexecSession:
        inputs = read_inputs(Path(path), batch_size)
        folder = Path(tempfile.mkdtemp(prefix="profilers-trtexec-"))
        engine = folder / "model.engine"
        try:
            self._build(Path(path), engine, inputs, precision)
        except Exception:
            shutil.rmtree(str(folder), ignore_errors=True)
            raise
        return TrtexecSession(
            Path(path).name,
            {name: item.spec for name, item in inputs.items()},
            lambda count: self._times(engine, _shapes(inputs), count),
            mode=self._mode,
            clock=self.clock,
            folder=folder,
            seed=seed,
        )

    def build(self, path: Path, *, precision: str, batch_size: int, compute_capabilities: Sequence[str] = ()) -> BuiltEngine:
        """Build an engine, as `TensorRtRuntime.build`."""
        if compute_capabilities:
            raise RuntimeFailedError(
                "an engine for another GPU needs TensorRT-RTX, because trtexec builds only for the GPU that is here; "
                "leave the compute capability out, or use the format trt-rtx."
            )
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="profilers-trtexec-") as folder:
            engine = Path(folder) / "model.engine"
            report, switches = self._build(path, engine, read_inputs(path, batch_size), precision)
            plan = engine.read_bytes()
        levels = [int(switch.partition("=")[2]) for switch in switches if switch.startswith("--builderOptimizationLevel")]
        record = EngineRecord(
            runtime=self.name,
            runtime_version=report.version or "unknown",
            cuda=None,
            gpu=report.gpu,
            compute_capabilities=() if report.compute_capability is None else (report.compute_capability,),
            precision=precision,
            typing="weak" if _needs_flags(_Known(self._helped())) else "strong",
            flags=tuple(sorted(switch[2:].upper() for switch in switches if switch in ("--fp16", "--int8"))),
            tactic_sources=(),
            level=levels[0] if levels else None,
            avg_timing_iterations=AVG_TIMING_ITERATIONS,
            batch_size=batch_size,
            num_layers=None,
            build_s=time.perf_counter() - started,
            model_sha256=file_sha256(path),
            engine_sha256=hashlib.sha256(plan).hexdigest(),
            num_bytes=len(plan),
        )
        return BuiltEngine(plan, record, ())

    def check_builds(self) -> None:
        """Raises: RuntimeNotInstalledError when trtexec cannot be started."""
        self._helped()

    def runs_here(self, record: EngineRecord) -> bool:
        """Engines run, but give no outputs."""
        return False

    def _build(
        self, path: Path, engine: Path, inputs: Mapping[str, OnnxInput], precision: str
    ) -> tuple[TrtexecReport, list[str]]:
        switches = build_switches(self._helped(), precision, self._mode)
        arguments = [f"--onnx={path.resolve()}", f"--saveEngine={engine}", *_shapes(inputs), *switches]
        report = self._call(arguments, timeout_s=BUILD_S)
        if not report.passed or not engine.is_file():
            raise ModelFileError(_failure("build an engine from", path.name, report))
        return report, switches

    def _times(self, engine: Path, shapes: list[str], num_runs: int) -> tuple[TrtexecRun, ...]:
        """Run an engine in one call of trtexec.

        Raises:
            RuntimeFailedError: trtexec failed, or timed something else than it was asked for.
        """
        exported = engine.with_name("times.json")
        report = self._call(
            [
                f"--loadEngine={engine}",
                f"--exportTimes={exported}",
                f"--iterations={num_runs}",
                "--duration=0",
                f"--warmUp={_WARM_UP_MS}",
                *shapes,
                *run_switches(self._helped(), self._mode),
            ],
            timeout_s=_RUN_S,
        )
        if not report.passed or not exported.is_file():
            raise RuntimeFailedError(_failure("run", engine.name, report))
        if self._mode.cuda_graph and report.lost_cuda_graph:
            raise RuntimeFailedError(
                "trtexec must capture a CUDA graph, but this engine does not allow it; measure it with the timing mode 'no-graph'."
            )
        return parse_times(exported.read_text(encoding="utf-8"), _WARM_UP_MS)

    def _helped(self) -> str:
        if not self._help:
            self._help = self._output(["--help"], 60.0)
        return self._help

    def _call(self, arguments: Sequence[str], *, timeout_s: float) -> TrtexecReport:
        return parse_report(self._output(arguments, timeout_s))

    def _output(self, arguments: Sequence[str], timeout_s: float) -> str:
        try:
            done = subprocess.run(
                [self._program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeFailedError(
                f"trtexec must be done within {timeout_s:g} s, but it was not; use a smaller model or a lower builder level."
            ) from error
        except OSError as error:
            raise RuntimeNotInstalledError(
                f"trtexec must be a program that can be started, but {self._program!r} cannot ({error}); install TensorRT again."
            ) from error
        return done.stdout.decode("utf-8", "replace")


def _shapes(inputs: Mapping[str, OnnxInput]) -> list[str]:
    """The switch for inputs that leave their batch open; trtexec refuses it for a model that has its own shapes."""
    shapes = [f"{name}:{'x'.join(map(str, item.spec.shape))}" for name, item in inputs.items() if item.is_open]
    return [f"--shapes={','.join(shapes)}"] if shapes else []


def _failure(task: str, name: str, report: TrtexecReport) -> str:
    reason = report.errors[0][:300] if report.errors else "it gave no reason"
    return f"trtexec must {task} {name!r}, but it failed: {reason}; try another precision or version, or free memory of the GPU."


class TrtexecSession(CheckedSession):
    """Plays the runs of calls of trtexec, and makes a new call when they are used up."""

    def __init__(
        self,
        name: str,
        inputs: Mapping[str, TensorSpec],
        times: Callable[[int], tuple[TrtexecRun, ...]],
        *,
        mode: TimingMode,
        clock: VirtualClock,
        folder: Path,
        seed: int,
    ) -> None:
        """Take a function that times so many runs; the folder is removed at the end."""
        super().__init__(name, inputs, seed=seed)
        self._times, self._mode, self._clock, self._folder = times, mode, clock, folder
        self._waiting: deque[tuple[int, TrtexecRun]] = deque()  # sample and run
        self._played: list[TrtexecRun] = []
        self._num_runs = _MIN_RUNS

    def take_parts(self) -> dict[str, tuple[int, ...]]:
        """Return the parts of the runs since the last call, in ns, and begin anew."""
        played, self._played = self._played, []
        names = ("gpu", "enqueue", *(("copy_in", "copy_out") if self._mode.transfers else ()))
        return {name: tuple(getattr(run, name) for run in played) for name in names}

    def _infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        raise RuntimeFailedError("trtexec knows times, not outputs; compare outputs where TensorRT's Python bindings are.")

    def _run(self) -> None:
        if not self._waiting:
            self._waiting.extend(self._samples())
        sample, run = self._waiting.popleft()
        self._played.append(run)
        self._clock.advance(max(1, sample))

    def _samples(self) -> list[tuple[int, TrtexecRun]]:
        runs = self._times(self._num_runs)
        if self._mode.measure == "throughput":
            samples = [(after.end - before.end, after) for before, after in zip(runs, runs[1:])]
        else:
            samples = [(run.copy_in + run.gpu + run.copy_out if self._mode.transfers else run.gpu, run) for run in runs]
        if not samples:
            raise RuntimeFailedError(f"trtexec must time {self._num_runs} runs of {self.name!r}, but it timed one; run it again.")
        typical = sorted(sample for sample, _ in samples)[len(samples) // 2]
        self._num_runs = min(_MAX_RUNS, max(_MIN_RUNS, math.ceil(_CALL_NS / max(1, typical))))
        return samples

    def _close(self) -> None:
        super()._close()
        shutil.rmtree(str(self._folder), ignore_errors=True)


def build_switches(help_text: str, precision: str, mode: TimingMode) -> list[str]:
    """Return the switches of a build for the version that printed this help."""
    knows = _Known(help_text)
    switches = ["--skipInference" if knows("--skipInference") else "--buildOnly", f"--avgTiming={AVG_TIMING_ITERATIONS}"]
    if knows("--stronglyTyped"):
        switches.append("--stronglyTyped")
    elif precision != "fp32" and _needs_flags(knows):
        switches.append(f"--{precision}")
    if knows("--noTF32"):
        switches.append("--noTF32")
    if knows("--builderOptimizationLevel"):
        switches.append(f"--builderOptimizationLevel={LEVEL if mode.level is None else mode.level}")
    elif mode.level is not None:
        raise RuntimeFailedError(
            f"builder level {mode.level} needs TensorRT 8.6 or newer, but this trtexec has none; leave it out."
        )
    return switches


def _needs_flags(knows: _Known) -> bool:
    """Say whether precision is allowed by flags: to 8.6; 10 takes types from the graph if asked to, 11 always."""
    return knows("--fp16") and not knows("--stronglyTyped")


def run_switches(help_text: str, mode: TimingMode) -> list[str]:
    """Return the switches of a timed call; what is off by default in one version is on in another, and named by its opposite."""
    knows = _Known(help_text)
    switches = [
        knows.one_of(mode.cuda_graph, "--useCudaGraph", "--noCudaGraph"),
        knows.one_of(mode.transfers, "--includeDataTransfers", "--noDataTransfers"),
        knows.one_of(mode.spin_wait, "--useSpinWait", "--noSpinWait"),
    ]
    return [switch for switch in switches if switch]


class _Known:
    """Switches that a help text lists."""

    def __init__(self, text: str) -> None:
        self._words = {word.partition("=")[0] for word in text.split() if word.startswith("--")}

    def __call__(self, switch: str) -> bool:
        return switch in self._words

    def one_of(self, wanted: bool, on: str, off: str) -> str:
        """Return the switch that says so; where only the opposite exists, saying nothing says it."""
        switch, opposite = (on, off) if wanted else (off, on)
        if not self(switch) and not self(opposite):
            raise RuntimeFailedError(
                f"trtexec must have the switch {on} or {off}, but its help lists neither; use another version."
            )
        return switch if self(switch) else ""
