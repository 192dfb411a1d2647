"""Models on an Android phone, run by a benchmark program that lies there, one call for each round."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from profilers.conditions import Condition
from profilers.device_facts import DeviceFacts
from profilers.errors import JobError, ModelFileError, ProfilerError, RuntimeFailedError, RuntimeNotInstalledError, TransportError
from profilers.onnx_inputs import read_inputs
from profilers.runtimes.base import CheckedSession, check_model_file, file_sha256
from profilers.runtimes.phone.connection import Answer, Phone, quoted
from profilers.runtimes.phone.state import conditions_script, facts_of, facts_script, heat_of, limit_and_heat_of
from profilers.runtimes.phone.tools import RESULTS, RUNTIMES, Call, Tool, tool_of

if TYPE_CHECKING:
    from profilers.runtimes.base import Array

DEFAULT_FOLDER = "/data/local/tmp"
_NOT_EXECUTABLE, _MISSING = 126, 127
_SIGNALS = range(129, 193)  # how a shell tells of a program that a signal ended
_COOL_S = 60.0
_COOL_POLL_S = 2.0
_HEAT = "dumpsys thermalservice 2>/dev/null | grep 'Thermal Status'"


class PhoneRuntime:
    """A runtime whose models run on a phone; nothing that this machine is like says anything about them.

    The version is the hash of the program, since the programs do not tell their own; times of two builds do not compare.
    """

    clock = staticmethod(time.perf_counter_ns)
    mode = "binary"  # the same model inside an app may take twice as long
    longest_load_s = 600.0  # large models over a slow cable, and a phone that must cool first

    def __init__(self, name: str, phone: Phone, program: str | None = None) -> None:
        """Name a runtime on a phone.

        Args:
            name: One of `RUNTIMES`.
            phone: Where models run.
            program: Path of the benchmark program there, by default in `DEFAULT_FOLDER` under its own name.

        Raises:
            RuntimeNotInstalledError: Phones do not run models of that runtime.
        """
        tool = tool_of(name)
        if tool is None:
            raise RuntimeNotInstalledError(
                f"the runtime of a phone must be one of {', '.join(RUNTIMES)}, but {name!r} came; choose one."
            )
        self.name = name
        self.phone = phone
        self.tool: Tool = tool
        self.program = program or f"{DEFAULT_FOLDER}/{tool.name}"
        self._mask = ""  # of CPUs; empty leaves the program free
        self._heat = HeatWatch(phone)
        self._program_sha256 = ""  # once it was looked at

    @property
    def lock_name(self) -> str:
        return self.phone.lock_name

    def check_available(self) -> None:
        self._program_sha256 = self._program_sha256 or _checked_program(self.phone, self.program, self.name)

    def version(self) -> str:
        self.check_available()
        return f"sha256-{self._program_sha256[:12]}"

    def facts(self) -> DeviceFacts:
        return facts_of(self.phone.run(facts_script()).output, self.name, self.version())

    def open_sampler(self) -> PhoneSampler:
        return PhoneSampler(self.phone)

    def bind(self, affinity: tuple[int, ...] | None) -> None:
        """Run models on these CPUs from now on.

        Raises:
            JobError: The phone does not have them.
        """
        num_cores = self.facts().num_cores
        if affinity is not None and max(affinity) >= num_cores:
            raise JobError(
                f"job.affinity must name CPUs of the phone (0 to {num_cores - 1}), but {list(affinity)} came; correct it."
            )
        self._mask = "" if affinity is None else f"{sum(1 << cpu for cpu in affinity):x}"

    def load(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        seed: int = 0,
        flush_denormals: bool = False,
    ) -> PhoneSession:
        """Copy a model there and run it once; the batch of files other than ONNX is what it is, and inputs are the program's."""
        path = Path(path)
        open_dims = _open_dims(path, batch_size) if self.name == "onnxruntime" else {}
        sha256 = file_sha256(path)
        place = self.phone.put(path, f"{sha256}{path.suffix if path.suffix in ('.tflite', '.onnx', '.pte') else ''}", sha256)
        session = PhoneSession(self, path.name, place, threads=threads, open_dims=open_dims, seed=seed)
        try:
            session.run_many(1, warm_up_ms=0)
        except ProfilerError as error:
            session.close()
            if not isinstance(error, RuntimeFailedError):
                raise
            raise ModelFileError(
                f"a model must be one that the phone can run, but it does not take {str(path)!r}: {error}"
            ) from error
        return session

    def run(self, arguments: Sequence[str], *, result_file: str | None = None) -> str:
        """Run the program, a second time if something killed it.

        Args:
            arguments: Its own.
            result_file: That it appends to; it is begun anew, and stays until the model is removed.

        Returns:
            What it printed, or the text of the file.

        Raises:
            RuntimeFailedError: It failed.
            RuntimeNotInstalledError: It is not there any more.
            TransportError: The phone is not there any more.
        """
        folder = self.program.rpartition("/")[0] or "/"
        pinned = ["taskset", self._mask] if self._mask else []
        # Programs bring libraries of their own, and some write files where they are started.
        words = quoted("env", f"LD_LIBRARY_PATH={folder}", *pinned, self.program, *arguments)
        fresh = "" if result_file is None else f"rm -f {quoted(result_file)}; "
        answer = Answer(_SIGNALS[0], "")
        for _ in range(2):
            # `exec`: the shell makes room, so that the end of the connection ends the program itself.
            answer = self.phone.run(f"{fresh}cd {quoted(folder)} && exec {words}", timeout_s=None)
            if answer.code not in _SIGNALS:
                break
        if answer.code == 0:
            return answer.output if result_file is None else self.phone.run(f"cat {quoted(result_file)}").output
        if answer.code in (_NOT_EXECUTABLE, _MISSING):
            raise RuntimeNotInstalledError(
                f"{self.program!r} must start on the phone {self.phone.serial!r}, but it does not ({answer.last_line}); "
                "push one that is built for the processor of the phone."
            )
        how = f"signal {answer.code - 128}" if answer.code in _SIGNALS else f"exit status {answer.code}"
        raise RuntimeFailedError(
            f"{self.tool.name} must run the model on the phone, but it ended with {how} ({answer.last_line}); "
            "leave the model out or try another version of the program."
        )

    def time_runs(self, call: Call) -> tuple[int, ...]:
        """Runs of a round, made while the phone is cool if it can be had; as `Tool.time_runs`."""
        self._heat.let_cool()
        times = self.tool.time_runs(self, call)
        if call.warm_up_ms > 0 and self._heat.rose():  # the phone slowed itself down meanwhile
            self._heat.let_cool()
            times = self.tool.time_runs(self, call)
        return times


class PhoneSession(CheckedSession):
    """A model that lies on a phone."""

    def __init__(
        self, runtime: PhoneRuntime, name: str, place: str, *, threads: int, open_dims: Mapping[str, int], seed: int
    ) -> None:
        super().__init__(name, {}, seed=seed)
        self._runtime, self._place = runtime, place
        self._threads, self._open_dims = threads, open_dims
        self._typical_ms: float | None = None

    def run_many(self, count: int, *, warm_up_ms: float) -> tuple[int, ...]:
        self._check_open()
        call = Call(self._place, self._threads, count, warm_up_ms, self._typical_ms, self._open_dims)
        times = self._runtime.time_runs(call)
        self._typical_ms = min(times) / 1e6
        return times

    def _infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        raise RuntimeFailedError(
            "the benchmark programs of phones tell times, not outputs; run the model in the same runtime on this machine."
        )

    def _run(self) -> None:
        self.run_many(1, warm_up_ms=0)

    def _close(self) -> None:
        super()._close()
        with suppress(TransportError):  # what is left there is removed another time
            self._runtime.phone.run(f"rm -f {quoted(self._place, self._place + RESULTS)}")


class HeatWatch:
    """Waits for a phone to cool down; one that stays hot is measured as it is, and its rows say so."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._is_hot = True  # until it was looked at
        self._has_patience = True

    def rose(self) -> bool:
        """Look; True when the phone slows itself down and it is worth waiting."""
        self._is_hot = (heat_of(self._phone.run(_HEAT).output).status or 0) > 0
        return self._is_hot and self._has_patience

    def let_cool(self) -> None:
        deadline = time.monotonic() + _COOL_S
        while self._has_patience and self._is_hot and self.rose():
            self._has_patience = time.monotonic() < deadline
            time.sleep(_COOL_POLL_S)


class PhoneSampler:
    """The state of a phone between rounds."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._num_hot = 0

    def sample(self) -> Condition:
        limit_mhz, heat = limit_and_heat_of(self._phone.run(conditions_script()).output)
        self._num_hot += (heat.status or 0) > 0
        return Condition(
            clock_mhz=limit_mhz,  # a clock read between rounds would be that of idle cores
            temperature_c=heat.hottest_c,
            num_throttled=None if heat.status is None else float(self._num_hot),
        )


class PhoneLoop:
    """A few ms of counting in the shell of a phone, which has nothing else that every phone has."""

    _SCRIPT = "n=0; while [ $n -le {count} ]; do date +%s%N; k=0; while [ $k -lt 5000 ]; do k=$((k+1)); done; n=$((n+1)); done"

    def __init__(self, phone: Phone) -> None:
        self._phone = phone

    def run(self) -> None:
        self.run_many(1, warm_up_ms=0)

    def run_many(self, count: int, *, warm_up_ms: float) -> tuple[int, ...]:
        """ns of each loop; the first one of a call warms up."""
        stamps = self._phone.run(self._SCRIPT.format(count=count + 1)).output.split()
        if len(stamps) != count + 2 or not all(re.fullmatch(r"\d{15,}", stamp) for stamp in stamps):
            raise RuntimeFailedError(
                "the shell of the phone must count and tell the time in ns, but it does not; measure models without this check."
            )
        times = [int(stamp) for stamp in stamps[1:]]
        return tuple(max(1, after - before) for before, after in zip(times, times[1:]))


def _checked_program(phone: Phone, program: str, runtime: str) -> str:
    """SHA-256 of a program on a phone.

    Raises:
        RuntimeNotInstalledError: It is not there, or may not be executed; the sentence says which others are.
    """
    place = quoted(program)
    answer = phone.run(
        f"if [ ! -f {place} ]; then exit {_MISSING}; elif [ ! -x {place} ]; then exit {_NOT_EXECUTABLE}; fi; sha256sum {place}"
    )
    if answer.code == 0 and len(answer.output.split()) >= 1:
        return answer.output.split()[0]
    if answer.code == _NOT_EXECUTABLE:
        raise RuntimeNotInstalledError(
            f"{program!r} must be executable on the phone {phone.serial!r}, but it is not; run 'adb shell chmod +x {program}'."
        )
    others = _other_runtimes(phone, program, runtime)
    raise RuntimeNotInstalledError(
        f"the runtime {runtime!r} needs the program {program!r} on the phone {phone.serial!r}, but it is not there"
        + (f" ({', '.join(others)} could be measured)" if others else "")
        + "; push it with 'adb push', or say in the description of the device where it lies: tool = \"/data/local/tmp/...\"."
    )


def _other_runtimes(phone: Phone, program: str, runtime: str) -> list[str]:
    """Runtimes whose programs lie in the same folder."""
    folder = program.rpartition("/")[0]
    answer = phone.run(f"ls {quoted(folder + '/')} 2>/dev/null")
    there = set(answer.output.split())
    return [name for name in RUNTIMES if name != runtime and getattr(tool_of(name), "name", "") in there]


def _open_dims(path: Path, batch_size: int) -> dict[str, int]:
    """Names of the open dimensions of an ONNX file, with the batch for each."""
    check_model_file(path)
    inputs = read_inputs(path, batch_size)
    nameless = [name for name, item in inputs.items() if item.is_open and not item.batch_name]
    if nameless and batch_size > 1:
        raise ModelFileError(
            f"the batch of input {nameless[0]!r} of {str(path)!r} must have a name, so that onnxruntime_perf_test can be told "
            "its size, but it has none; export it with a fixed batch."
        )
    return {item.batch_name: batch_size for item in inputs.values() if item.is_open and item.batch_name}
