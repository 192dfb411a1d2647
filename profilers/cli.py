"""The command line: `python3 -m profilers COMMAND`.

Exit status: 0 done, 1 the work could not be done (one sentence on standard error), 2 wrong use.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from profilers.errors import ProfilerError, RuntimeNotInstalledError
from profilers.strict_json import dumps


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
        return status
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        missing = RuntimeNotInstalledError(
            f"measuring needs the Python package 'numpy', which {sys.executable!r} does not have; install it with "
            "'sudo apt install python3-numpy' or 'pip install numpy'."
        )
        return _fail(missing, options)
    except ProfilerError as error:
        return _fail(error, options)
    except KeyboardInterrupt:
        print("interrupted; finished measurements are kept, run the same command to go on.", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Nobody listens any more; what is finished is on disk. The flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _fail(error: ProfilerError, options: argparse.Namespace) -> int:
    if getattr(options, "json", True):
        _print_event({"event": "error", "error": type(error).__name__, "message": str(error)})
    print(error, file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m profilers", description="Measure model files on this device.")
    commands = parser.add_subparsers(metavar="COMMAND")
    commands.required = True

    measure = commands.add_parser("measure", help="measure the models of a job file, or go on with it")
    measure.add_argument("job", type=Path, metavar="JOB.json")
    measure.add_argument("--results", type=Path, required=True, metavar="RESULTS.jsonl", help="made or continued")
    measure.add_argument("--wait-seconds", type=_seconds, default=600.0, help="for another profiler (default 600)")
    measure.add_argument("--allow-power-mode", action="store_true", help="set the power mode of the job, and put it back")
    measure.set_defaults(command=_measure)

    worker = commands.add_parser("worker", help="(internal) measure one group, job and events on standard streams")
    worker.set_defaults(command=_worker)

    build = commands.add_parser("build", help="build an engine for this device, or only see whether that is possible")
    build.add_argument("model", type=Path, nargs="?", metavar="MODEL.onnx", help="without it, only what is missing is told")
    build.add_argument("--engine", type=Path, help="file to write; a record is written beside it")
    build.add_argument("--runtime", default="tensorrt", help="tensorrt or tensorrt-rtx, with a timing mode as tensorrt:level5")
    build.add_argument("--precision", default="fp32", help="what the graph computes in")
    build.add_argument("--batch-size", type=int, default=1)
    build.add_argument("--compute-capability", action="append", default=[], metavar="X.Y", help="only tensorrt-rtx; repeatable")
    build.add_argument("--inputs", type=Path, metavar="FILE.npz", help="run the engine on these arrays")
    build.add_argument("--outputs", type=Path, metavar="FILE.npz")
    build.set_defaults(command=_build)

    facts = commands.add_parser("facts", help="what this device is")
    facts.add_argument("--runtime", help="also name the target: onnxruntime, ...")
    facts.add_argument("--threads", type=int, default=1)
    facts.add_argument("--precision", default="fp32")
    facts.add_argument("--batch-size", type=int, default=1)
    facts.add_argument("--power-mode", default="default", help="in which a job would run")
    facts.add_argument("--allow-power-mode", action="store_true", help="a job could set it")
    facts.add_argument("--json", action="store_true", help="one JSON document")
    facts.set_defaults(command=_facts)

    noise = commands.add_parser("noise", help="how steady this device is right now")
    noise.add_argument("--seconds", type=_seconds, default=2.0)
    noise.add_argument("--wait-seconds", type=_seconds, default=60.0, help="for another profiler (default 60)")
    noise.add_argument("--json", action="store_true", help="one JSON document")
    noise.set_defaults(command=_noise)

    guard = commands.add_parser("guard-power-mode", help="(internal) put the power mode back when standard input ends")
    guard.add_argument("note", type=Path)
    guard.set_defaults(command=_guard_power_mode)
    return parser


def _measure(options: argparse.Namespace) -> int:
    from profilers.agent import measure_job
    from profilers.job import load_job

    measure_job(
        load_job(options.job),
        options.results,
        _print_event,
        wait_s=options.wait_seconds,
        allow_power_mode=options.allow_power_mode,
    )
    return 0


def _build(options: argparse.Namespace) -> int:
    from profilers.engine_build import EngineRequest, build_on_this_device
    from profilers.runtimes import open_builder

    if options.model is None or options.engine is None:
        builder = open_builder(options.runtime)
        builder.check_builds()
        _print_event({"event": "can_build", "runtime": builder.name})
        return 0
    request = EngineRequest(options.runtime, options.precision, options.batch_size, tuple(options.compute_capability))
    build_on_this_device(
        request, options.model, options.engine, _print_event, inputs_file=options.inputs, outputs_file=options.outputs
    )
    return 0


def _worker(options: argparse.Namespace) -> int:
    from profilers import worker

    return worker.main()


def _guard_power_mode(options: argparse.Namespace) -> int:
    from profilers.power_mode import guard_power_mode

    guard_power_mode(options.note)
    return 0


def _facts(options: argparse.Namespace) -> int:
    from profilers.device_facts import read_facts
    from profilers.power_mode import power_mode_label
    from profilers.runtimes import open_runtime
    from profilers.runtimes.base import OnAnotherDevice, facts_for, timing_mode_of
    from profilers.target import Target

    target = None
    facts = read_facts()
    if options.runtime is not None:
        runtime = open_runtime(options.runtime)
        runtime.check_available()
        facts = facts_for(runtime)
        target = Target(
            facts.device,
            runtime.name,
            runtime.version(),
            options.precision,
            threads=options.threads,
            power_mode=power_mode_label(
                options.power_mode, allow_change=options.allow_power_mode, elsewhere=isinstance(runtime, OnAnotherDevice)
            ),
            batch_size=options.batch_size,
            timing_mode=timing_mode_of(runtime),
        )
    if options.json:
        print(dumps({"facts": facts.to_json(), "target": target and target.to_json()}))
        return 0
    for name, value in facts.to_json().items():
        print(f"{name:<16} {'unknown' if value is None else value}")
    if target is not None:
        print(f"{'target':<16} {target.key}")
    return 0


def _noise(options: argparse.Namespace) -> int:
    from profilers.device_facts import read_facts
    from profilers.device_lock import device_lock
    from profilers.noise import measure_noise

    with device_lock(read_facts().device, wait_s=options.wait_seconds):
        noise = measure_noise(options.seconds)
    if options.json:
        print(dumps(noise.to_json()))
        return 0
    print(f"{noise.verdict}: rounds vary by {noise.variation:.1%} (below 2 % quiet, to 5 % usable, above noisy); {noise.meaning}")
    print(f"{noise.slow_share:.1%} of the runs are slow, {noise.num_rounds} rounds")
    for sentence in noise.advice:
        print(f"- {sentence}")
    return 0


def _print_event(event: dict[str, Any]) -> None:
    print(dumps(event), flush=True)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of seconds of at least 0, but {text} came")
    return value
