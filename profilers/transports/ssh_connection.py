"""A connection over SSH to the server of `profilers.board`, with host keys checked and errors put into sentences."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import json
import os
import shlex
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from profilers.board_job import storage_error
from profilers.errors import RuntimeNotInstalledError, TransportError, error_named
from profilers.package import copy_package
from profilers.strict_json import dumps
from profilers.transports.bootstrap import MARK

if TYPE_CHECKING:
    import asyncssh

    Answer = dict[str, Any]

_T = TypeVar("_T")
_MINIMUM = (3, 8)
_CONNECT_S = 10.0
_SILENCE_S = 30.0  # the board says every 5 s that it is alive; as long as this it may be busy
_BLOCK = 1 << 18
# The only command that a board is given: it reads a script of known length and leaves the rest of standard input to it.
_COMMAND = 'import sys;f=getattr(sys.stdin,"buffer",sys.stdin);exec(f.read(int(f.readline())));main(f)'


@dataclass(frozen=True)
class SshAddress:
    """Where a board is and how it lets one in; what is not given comes from `~/.ssh/config`."""

    host: str
    user: str | None = None
    port: int | None = None
    identity_file: str | None = None
    password_file: str | None = None
    python: str = "python3"  # on the board

    def __str__(self) -> str:
        return self.host if self.user is None else f"{self.user}@{self.host}"


class LinkLostError(Exception):
    """The connection broke or could not be made; another attempt may succeed."""

    def __init__(self, reason: str, sentence: str = "") -> None:
        super().__init__(reason)
        self.sentence = sentence  # for a first attempt; empty when the board was there and the connection broke


class TooLateError(Exception):
    """The time that a caller gave is over."""


class SshConnection:
    """An open connection; every method may raise LinkLostError."""

    def __init__(self, address: SshAddress) -> None:
        """Connect, copy the package unless it is there, and start the server.

        Raises:
            TransportError: The board cannot be reached, does not let us in, is not the one it was, or cannot be written to.
            RuntimeNotInstalledError: There is no Python, or an old one.
            LinkLostError: The connection broke.
        """
        _check_asyncssh()
        self._address = address
        self._connection: asyncssh.SSHClientConnection | None = None
        self._loop = _LoopThread()
        try:
            self._connection, self._process = self._talk(_open(address), _CONNECT_S + _SILENCE_S)
            self._install()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SshConnection:  # noqa: PYI034 - typing.Self came after Python 3.8
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection without a word; the board notices."""
        if self._connection is not None:
            self._loop.call(self._connection.abort)
        self._loop.close()

    def ask(self, request: Answer, content: Path | None = None) -> Answer:
        """Send a request, and the bytes of a file after it; return the one answer.

        Raises:
            ProfilerError: The board could not do it.
        """
        self._send(dumps(request).encode("utf-8") + b"\n")
        if content is not None:
            left = int(request["size"])
            with content.open("rb") as file:
                while left:
                    # A file that became shorter is filled up: the board sees that the bytes are others.
                    block = file.read(min(_BLOCK, left)) or bytes(left)
                    left -= len(block)
                    self._send(block)
        return next(self._answers(float("inf")))

    def follow(self, request: Answer, deadline: float = float("inf")) -> Iterator[Answer]:
        """Send a request that has many answers, and yield them; signs of life are passed over.

        Raises:
            ProfilerError: The board could not do it.
            TooLateError: The monotonic clock is past the deadline.
        """
        self._send(dumps(request).encode("utf-8") + b"\n")
        return self._answers(deadline)

    def _answers(self, deadline: float) -> Iterator[Answer]:
        while True:
            answer = json.loads(self._line(deadline))
            if "error" in answer:
                raise error_named(str(answer["error"]), str(answer["message"]))
            if "alive" not in answer:
                yield answer

    def _install(self) -> None:
        script = Path(__file__).with_name("bootstrap.py").read_bytes()
        package = copy_package()
        request = dumps({"digest": package.digest, "minimum": list(_MINIMUM)}).encode("ascii")
        self._send(b"%d\n%s%s\n" % (len(script), script, request))
        found = self._marked_answer()
        if tuple(found["python"]) < _MINIMUM:
            came, wanted = (".".join(map(str, version)) for version in (found["python"], _MINIMUM))
            raise RuntimeNotInstalledError(
                f"Python on {str(self._address)!r} must be {wanted} or newer, but {found['executable']!r} is {came}; install a "
                "newer one there and name it with 'python' in the description of the device."
            )
        archive = b"" if found["has_package"] else package.archive
        self._send(b"%d\n%s" % (len(archive), archive))
        answer = self._marked_answer()
        if "ready" not in answer:
            raise storage_error(Path(answer["path"]), OSError(answer["errno"], answer["reason"]))

    def _marked_answer(self) -> Answer:
        """Read on to a line of the bootstrap: login scripts may print before it."""
        while True:
            line = self._line().decode("utf-8", "replace")
            if MARK in line:
                answer: Answer = json.loads(line[line.index(MARK) + len(MARK) :])
                return answer

    def _line(self, deadline: float = float("inf")) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TooLateError
        try:
            line = self._talk(self._process.stdout.readline(), min(_SILENCE_S, left))
        except LinkLostError:
            if time.monotonic() >= deadline:
                raise TooLateError from None
            raise
        if not line.endswith(b"\n"):
            self._explain_end()
        return line

    def _send(self, content: bytes) -> None:
        async def send() -> None:
            self._process.stdin.write(content)
            await self._process.stdin.drain()

        try:
            self._talk(send(), _SILENCE_S)
        except BrokenPipeError:
            self._explain_end()

    def _talk(self, work: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        import asyncssh

        try:
            return self._loop.run(work, timeout_s)
        except concurrent.futures.TimeoutError as error:
            raise LinkLostError(f"no sign of life for {timeout_s:g} s") from error
        except BrokenPipeError:
            raise
        except (asyncssh.Error, OSError) as error:
            raise LinkLostError(str(error)) from error

    def _explain_end(self) -> None:
        """Raise what made the server end: a broken connection, or a Python that cannot run it."""
        with suppress(concurrent.futures.TimeoutError):
            self._loop.run(self._process.wait_closed(), 1.0)
        status = self._process.exit_status
        if status is None:
            raise LinkLostError("the connection was closed")
        words = self._talk(self._process.stderr.read(), 1.0).decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][:200]
        python = self._address.python
        if status in (126, 127):
            raise RuntimeNotInstalledError(
                f"{str(self._address)!r} must have Python {_MINIMUM[0]}.{_MINIMUM[1]} or newer as {python!r}, but it cannot be started "
                f"({words}); install it there (sudo apt install python3) or name it with 'python' in the description of the device."
            )
        raise TransportError(
            f"{python!r} on {str(self._address)!r} must run the agent, but it stopped with exit status {status} ({words}); "
            "see whether it starts there, or name another with 'python' in the description of the device."
        )


class _LoopThread:
    """An event loop of its own, so that callers wait, and are interrupted, like in any other program."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except BaseException:
            future.cancel()
            raise

    def call(self, function: Any) -> None:
        self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        async def finish() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        with suppress(concurrent.futures.TimeoutError):
            self.run(finish(), 5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _check_asyncssh() -> None:
    try:
        importlib.import_module("asyncssh")
    except ImportError as error:
        raise TransportError(
            f"the transport 'ssh' needs the Python package 'asyncssh', which cannot be imported here ({error}); "
            "install it with 'pip install asyncssh'."
        ) from error


async def _open(address: SshAddress) -> tuple[asyncssh.SSHClientConnection, asyncssh.SSHClientProcess[bytes]]:
    import asyncssh

    host_keys = _HostKeys()
    try:
        options = _options(address)
        host_keys.files = _known_hosts_files(asyncssh.SSHClientConnectionOptions(host=address.host, **options).known_hosts)
        connection = await asyncssh.connect(
            address.host, known_hosts=host_keys.known, client_factory=lambda: _client(host_keys), **options
        )
    except (asyncssh.Error, asyncio.TimeoutError, OSError, ValueError) as error:
        raise _refusal(address, error, host_keys) from error
    try:
        command = f"{shlex.quote(address.python)} -c {shlex.quote(_COMMAND)}"
        return connection, await connection.create_process(command, encoding=None)
    except (asyncssh.Error, OSError) as error:
        connection.abort()
        raise LinkLostError(str(error)) from error


def _options(address: SshAddress) -> dict[str, Any]:
    """What is given goes before what `~/.ssh/config` says."""
    options: dict[str, Any] = {"connect_timeout": _CONNECT_S, "keepalive_interval": 5.0, "keepalive_count_max": 3}
    if address.user is not None:
        options["username"] = address.user
    if address.port is not None:
        options["port"] = address.port
    if address.identity_file is not None:
        options["client_keys"] = [_existing("identity_file", address.identity_file)]
        options["ignore_encrypted"] = True  # the agent may hold it
    if address.password_file is not None:
        options["password"] = _password(_existing("password_file", address.password_file))
    return options


def _existing(name: str, path: str) -> str:
    place = Path(path).expanduser()
    if not place.is_file():
        raise TransportError(
            f"{name} must be a file on this machine, but {path!r} is not; correct the description of the device."
        )
    return str(place)


def _password(path: str) -> str:
    if os.name == "posix" and Path(path).stat().st_mode & 0o077:
        raise TransportError(
            f"password_file must be readable by you alone, but {path!r} is not; run 'chmod 600 {shlex.quote(path)}'."
        )
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TransportError(f"password_file must be readable text, but {path!r} is not ({error}); check its rights.") from error


@dataclass
class _HostKeys:
    """What is known of the keys of a host, and the key that came."""

    files: tuple[str, ...] = ()
    host: str = ""  # as `known_hosts` would call it
    are_known: bool = False
    fingerprint: str | None = None  # of a key that came and was not known

    def known(self, host: str, address: str, port: int | None) -> Any:
        """Look up a host, as asyncssh asks it."""
        import asyncssh

        self.host = host if port is None else f"[{host}]:{port}"
        found = asyncssh.match_known_hosts(asyncssh.read_known_hosts(self.files), host, address, port)
        self.are_known = bool(found[0] or found[1])
        return found


def _client(host_keys: _HostKeys) -> asyncssh.SSHClient:
    import asyncssh

    class Client(asyncssh.SSHClient):
        def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
            host_keys.fingerprint = key.get_fingerprint()
            return False

    return Client()


def _known_hosts_files(configured: object) -> tuple[str, ...]:
    """Keys are checked whatever the configuration says; without files of its own, those of OpenSSH."""
    files = configured if isinstance(configured, list) and configured else ["~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"]
    paths = [Path(str(file)).expanduser() for file in files]
    return tuple(str(path) for path in paths if path.is_file())


def _refusal(address: SshAddress, error: Exception, host_keys: _HostKeys) -> Exception:
    """Put into a sentence why there is no connection; what may pass by itself is a LinkLostError."""
    import asyncssh

    where, port = repr(str(address)), "" if address.port is None else f" -p {address.port}"
    came = "" if host_keys.fingerprint is None else f" ({host_keys.fingerprint})"
    if isinstance(error, asyncssh.HostKeyNotVerifiable) and not host_keys.are_known:
        return TransportError(
            f"the host key of {where} must be known before anything is sent there, but 'known_hosts' has none for it{came}; "
            f"run 'ssh{port} {address}' once and compare the key before you accept it."
        )
    if isinstance(error, (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed)) and host_keys.are_known:
        return TransportError(
            f"the host key of {where} must be the one in 'known_hosts', but another came{came}: the board was set up anew, or "
            f"another machine answers in its place; if you know why, run 'ssh-keygen -R {shlex.quote(host_keys.host)}' and "
            f"'ssh{port} {address}' once."
        )
    if isinstance(error, (asyncssh.KeyImportError, asyncssh.ConfigParseError)):
        return TransportError(
            f"the keys and the configuration of SSH must be readable, but one cannot be used ({error}); correct it."
        )
    if isinstance(error, asyncssh.PermissionDenied):
        tried = (
            "the password"
            if address.password_file
            else f"the key {address.identity_file!r}"
            if address.identity_file
            else "your keys"
        )
        return TransportError(
            f"{where} must let you in, but it refuses {tried}; run 'ssh-copy-id{port} {address}' once, or correct 'user', "
            "'identity_file' or 'password_file' in the description of the device."
        )
    if isinstance(error, (asyncssh.ConnectionLost, ConnectionResetError, BrokenPipeError)):
        return LinkLostError(str(error) or "closed while connecting")
    if isinstance(error, socket.gaierror):
        return TransportError(f"the host of {where} must have an address, but it has none ({error.strerror}); correct 'host'.")
    if isinstance(error, ConnectionRefusedError):
        at = "there" if address.port is None else f"on port {address.port}"
        return LinkLostError(
            "connection refused",
            f"{where} must take SSH connections, but nothing listens {at}; start its SSH server "
            "(sudo systemctl enable --now ssh) or correct 'port'.",
        )
    if isinstance(error, (asyncio.TimeoutError, OSError)):
        reason = getattr(error, "strerror", None) or f"no answer within {_CONNECT_S:g} s"
        return LinkLostError(
            reason, f"{where} must be reachable, but it is not ({reason}); see that it is on and in the same network."
        )
    return TransportError(
        f"{where} must take SSH connections, but it does not ({error}); see whether 'ssh{port} {address}' works."
    )
