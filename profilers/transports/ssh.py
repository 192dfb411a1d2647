"""A board over SSH: the package and the models are copied there, and the agent runs on whether the connection holds or not.

A dropped connection is made again; what the agent reported meanwhile is fetched, each row once. A caller that is killed finds the
job again by running it again with the same results file.
"""

from __future__ import annotations

import getpass
import hashlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilers.device_facts import DeviceFacts
from profilers.device_lock import device_lock
from profilers.engine_build import EngineBuild, EngineRequest
from profilers.errors import DeviceBusyError, ProfilerError, TransportError, WorkerDiedError
from profilers.job import Job
from profilers.measurement import Measurement
from profilers.noise import Noise
from profilers.results import ResultsWriter, read_results
from profilers.runtimes.tensorrt.builder import BUILD_S
from profilers.strict_json import dumps, loads
from profilers.target import Target
from profilers.transports.agent_commands import FACTS_S, NOISE_S, facts_command, facts_of, noise_command, noise_of
from profilers.transports.delivery import Delivery
from profilers.transports.remote_build import build_over, run_command
from profilers.transports.ssh_connection import LinkLostError, SshAddress, SshConnection, TooLateError

if TYPE_CHECKING:
    from profilers.runtimes.base import Array

_WAIT_S = 600.0  # for another caller with the same results file
_FIRST_ATTEMPTS = 3
_LONGEST_PAUSE_S = 30.0


class SshTransport:
    """Runs `python3 -m profilers` on another machine that has an SSH server, Python 3.8, numpy and the runtime."""

    def __init__(
        self, address: SshAddress, *, allow_power_mode: bool = False, patience_s: float = 600.0, first_pause_s: float = 0.5
    ) -> None:
        """Connect only when asked something.

        Args:
            address: Where the board is.
            allow_power_mode: The board may be put into the power mode of the job; it is put back afterwards.
            patience_s: How long a lost connection is tried again.
            first_pause_s: Before the first of these attempts; later ones wait longer.
        """
        self._address = address
        self._flags = ["--allow-power-mode"] if allow_power_mode else []
        self._patience_s = patience_s
        self._first_pause_s = first_pause_s

    def facts(
        self,
        runtime: str = "onnxruntime",
        threads: int = 1,
        precision: str = "fp32",
        batch_size: int = 1,
        power_mode: str = "default",
    ) -> tuple[DeviceFacts, Target]:
        arguments = [*facts_command(runtime, threads, precision, batch_size, power_mode), *self._flags]
        return facts_of(self._command(arguments, timeout_s=FACTS_S))

    def noise(self, *, seconds: float) -> Noise:
        return noise_of(self._command(noise_command(seconds), timeout_s=seconds + NOISE_S))

    def run_job(
        self,
        job: Job,
        results_path: Path,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        timeout_s: float | None = None,
    ) -> list[Measurement]:
        emit = on_event or (lambda event: None)
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        with _alone_with(results_path, emit):
            results = read_results(results_path)
            with ResultsWriter(results_path, results) as writer:
                delivery = Delivery(job, results, writer, emit)
                remote = _RemoteJob(delivery, results_path, self._flags, deadline)
                try:
                    self._drive(remote, emit)
                except TooLateError as error:
                    self._wind_up(remote)
                    raise WorkerDiedError(
                        f"the agent must be done in time, but it was not after {timeout_s:g} s; "
                        "finished measurements are kept, run the job again to go on."
                    ) from error
                except ProfilerError:
                    raise
                except BaseException:  # interrupted: the board must not go on for nobody
                    self._wind_up(remote)
                    raise
        return delivery.measurements()

    def check_builds(self, runtime: str) -> None:
        self._command(["build", "--runtime", runtime], timeout_s=FACTS_S)

    def build_engine(
        self,
        request: EngineRequest,
        model: Path,
        engine: Path,
        *,
        inputs: Mapping[str, Array] | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        timeout_s: float | None = BUILD_S,
    ) -> EngineBuild:
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        with self._connected(timeout_s) as board:
            return build_over(board, request, Path(model), Path(engine), inputs=inputs, emit=on_event, deadline=deadline)

    def _command(self, arguments: list[str], *, timeout_s: float) -> list[dict[str, Any]]:
        """Run a command of the agent and return what it prints; raise its error as the class it was."""
        with self._connected(timeout_s) as board:
            return list(run_command(board, arguments, deadline=time.monotonic() + timeout_s))

    @contextmanager
    def _connected(self, timeout_s: float | None) -> Iterator[SshConnection]:
        """A connection for something that is begun anew when it breaks."""
        try:
            with SshConnection(self._address) as board:
                yield board
        except LinkLostError as error:
            raise self._unreachable(error) from error
        except TooLateError as error:
            raise WorkerDiedError(
                f"the agent on {str(self._address)!r} must be done within {timeout_s:g} s, but it was not; see what holds it up."
            ) from error

    def _drive(self, remote: _RemoteJob, emit: Callable[[dict[str, Any]], None]) -> None:
        """Go on with a job, over as many connections as it takes."""
        num_lost, pause_s = 0, self._first_pause_s
        lost_at: float | None = None  # since when there is no connection that works; None before the first one
        while True:
            try:
                with SshConnection(self._address) as board:
                    num_lost, pause_s = 0, self._first_pause_s
                    remote.go_on(board)
                    return
            except LinkLostError as error:
                num_lost += 1
                if num_lost == 1:
                    lost_at = time.monotonic() if remote.is_known else None
                    emit({"event": "waiting", "message": f"no connection to {str(self._address)!r} ({error}); trying again"})
                if lost_at is None and (error.sentence or num_lost >= _FIRST_ATTEMPTS):
                    raise self._unreachable(error) from error
                if lost_at is not None and time.monotonic() - lost_at > self._patience_s:
                    raise TransportError(
                        f"the connection to {str(self._address)!r} must come back within {self._patience_s:g} s, but it did not "
                        f"({error}); the job goes on there, run the same command again to fetch what it measured."
                    ) from error
            remote.check_time()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _wind_up(self, remote: _RemoteJob) -> None:
        """Stop the job and fetch what it finished; a board that cannot be reached goes on to the end of the job."""
        with suppress(ProfilerError, LinkLostError), SshConnection(self._address) as board:
            remote.wind_up(board)

    def _unreachable(self, error: LinkLostError) -> TransportError:
        return TransportError(
            error.sentence
            or f"the connection to {str(self._address)!r} must hold, but it broke ({error}); run the same command again."
        )


class _RemoteJob:
    """A job on the board, and how far its events were read."""

    def __init__(self, delivery: Delivery, results_path: Path, flags: list[str], deadline: float) -> None:
        self._delivery = delivery
        self._flags = flags
        self._deadline = deadline
        # Files are known by their bytes: where they lie here differs from call to call.
        self._document = {**delivery.job.to_json(), "models": [{**m.to_json(), "path": ""} for m in delivery.job.models]}
        self._name = _job_name(self._document, flags, results_path)
        self._run: str | None = None
        self._offset = 0
        self._is_finished = False

    @property
    def is_known(self) -> bool:
        """The board has taken the job."""
        return self._run is not None

    def go_on(self, board: SshConnection) -> None:
        """Start the job or find it again, follow it to its end, and leave the board clean."""
        while not self._is_finished:
            self._send_models(board)
            answer = board.ask(self._request("start", document=self._document, rows=self._delivery.rows(), flags=self._flags))
            if answer["run"] != self._run:
                self._run, self._offset = answer["run"], 0
            self._is_finished = self._follow(board) == "finished"
        board.ask(self._request("forget"))

    def wind_up(self, board: SshConnection) -> None:
        """Kill the agent, keep what it had finished, and leave the board clean."""
        board.ask(self._request("stop"))
        self._deadline = float("inf")
        if self.is_known:
            with suppress(WorkerDiedError):
                self._follow(board)
        board.ask(self._request("forget"))

    def check_time(self) -> None:
        """Raises: TooLateError when the time of the job is over."""
        if time.monotonic() >= self._deadline:
            raise TooLateError

    def _send_models(self, board: SshConnection) -> None:
        paths = {model.sha256: Path(model.path) for model in self._delivery.job.models if model.sha256 is not None}
        for sha256 in board.ask(self._request("missing", sha256=list(paths)))["missing"]:
            self.check_time()
            path = paths[sha256]
            board.ask(self._request("put", sha256=sha256, size=path.stat().st_size), content=path)

    def _follow(self, board: SshConnection) -> str:
        """Take events until there are no more; "finished" or "replaced" by another start of the agent."""
        for answer in board.follow(self._request("follow", run=self._run, offset=self._offset), self._deadline):
            if "end" in answer:
                return str(answer["end"])
            for line in answer["events"].split("\n")[:-1]:
                self._delivery.take(loads(line, "an event of the agent"))
            self._offset = answer["offset"]
        raise AssertionError("a job ends with its end")

    def _request(self, do: str, **values: object) -> dict[str, Any]:
        return {"do": do, "job": self._name, **values}


def _job_name(document: dict[str, Any], flags: list[str], results_path: Path) -> str:
    """Name a job on the board: the same job into the same results file is the same job."""
    asker = [getpass.getuser(), socket.gethostname(), str(Path(results_path).resolve())]
    return hashlib.sha256(dumps([asker, flags, document]).encode("utf-8")).hexdigest()


@contextmanager
def _alone_with(results_path: Path, emit: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Keep other callers on this machine away from the results file."""
    path = str(Path(results_path).resolve())
    name = "results-" + hashlib.sha256(path.encode("utf-8")).hexdigest()[:16]
    waits = {"event": "waiting", "message": f"another process writes {path!r}; waiting up to {_WAIT_S:g} s"}
    with ExitStack() as stack:
        try:
            stack.enter_context(device_lock(name, wait_s=_WAIT_S, on_wait=lambda message: emit(waits)))
        except DeviceBusyError as error:
            raise DeviceBusyError(
                f"only one process may write the results file {path!r}, but another still does after {_WAIT_S:g} s; try again later."
            ) from error
        yield
