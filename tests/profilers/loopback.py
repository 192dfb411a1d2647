"""Real SSH servers on this machine, each with a home folder of its own, and a wire in front of them that can be cut."""

from __future__ import annotations

import asyncio
import concurrent.futures
import getpass
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from profilers.transports.ssh_connection import SshAddress

USER = "tester"
PASSWORD = "right"


@dataclass(frozen=True)
class Board:
    """A server that runs commands for real, in `home`, and what a client needs to reach it."""

    home: Path
    address: SshAddress

    @property
    def cache(self) -> Path:
        return self.home / ".cache" / "natdeploy"


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def close(self) -> None:
        async def finish() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(finish())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class _Server(asyncssh.SSHServer):
    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


class _Child(asyncio.SubprocessProtocol):
    """Passes on what a command prints."""

    def __init__(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self._process = process
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        with suppress(OSError):
            (self._process.stdout if fd == 1 else self._process.stderr).write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set_result(None)


async def _feed(process: asyncssh.SSHServerProcess[bytes], transport: asyncio.SubprocessTransport) -> None:
    pipe: Any = transport.get_pipe_transport(0)
    with suppress(OSError, asyncssh.Error):
        while block := await process.stdin.read(1 << 16):
            pipe.write(block)


@contextmanager
def asyncssh_board(folder: Path, *, setup: Callable[[], None] | None = None, motd: str = "") -> Iterator[Board]:
    """asyncssh's own server; `setup` runs in each command's process before it starts, `motd` is what a login script prints."""
    home, keys = folder / "home", folder / "keys"
    home.mkdir(parents=True)
    keys.mkdir()
    for name in ("host", "client"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(keys / name)
        key.write_public_key(keys / f"{name}.pub")
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(folder)}
    environment.pop("PYTHONPATH", None)  # the board has only what was copied there
    environment.pop("XDG_CACHE_HOME", None)

    children: list[tuple[asyncio.SubprocessTransport, _Child]] = []

    async def serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
        start = asyncio.get_running_loop().subprocess_shell
        transport, child = await start(
            lambda: _Child(process), process.command or "", env=environment, cwd=home, preexec_fn=setup
        )
        children.append((transport, child))
        process.stdout.write(motd.encode())
        feed = asyncio.ensure_future(_feed(process, transport))
        try:
            await asyncio.wait([feed, child.ended], return_when=asyncio.FIRST_COMPLETED)
            if child.ended.done():
                process.exit(transport.get_returncode() or 0)
        finally:
            feed.cancel()
            # Like sshd, where nobody listens any more: the pipes close, the process is not killed.
            for descriptor in (0, 1, 2):
                pipe = transport.get_pipe_transport(descriptor)
                if pipe is not None:
                    pipe.close()

    async def end() -> None:
        server.close()
        for transport, _ in children:  # all, before one is waited for: an open one would be collected in whatever test runs then
            with suppress(ProcessLookupError):
                transport.kill()
            transport.close()
        for _, child in children:
            await child.ended

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=_Server,
            server_host_keys=[keys / "host"],
            authorized_client_keys=str(keys / "client.pub"),
            process_factory=serve,
            encoding=None,
        )

    loop = Loop()
    server = loop.run(listen())
    port = server.get_port()
    write_known_hosts(folder, port, keys / "host.pub")
    try:
        yield Board(home, SshAddress("127.0.0.1", USER, port, str(keys / "client"), python=sys.executable))
    finally:
        with suppress(
            TimeoutError, concurrent.futures.TimeoutError
        ):  # a link that was cut may leave the server waiting for its client
            loop.run(end())
        loop.close()


def write_known_hosts(folder: Path, port: int, public_key: Path) -> None:
    """Make the key known to a client whose HOME is the folder."""
    place = folder / ".ssh" / "known_hosts"
    place.parent.mkdir(exist_ok=True)
    with place.open("a") as file:
        file.write(f"[127.0.0.1]:{port} {public_key.read_text()}")


@contextmanager
def openssh_board(folder: Path) -> Iterator[Board]:
    """OpenSSH's server, as this user, on a high port; the home folder is set by the wrapper that stands for Python."""
    home = folder / "home"
    home.mkdir(parents=True)
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    python = folder / "python of the board"  # with spaces, which a careless shell would take apart
    python.write_text(f'#!/bin/sh\nHOME="{home}" TMPDIR="{folder}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    (folder / "authorized_keys").write_text((folder / "client.pub").read_text())
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
    }
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    # Root's server separates its rights in a folder that its service would make at boot.
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen(
            [find_sshd(), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log, start_new_session=True
        )
    write_known_hosts(folder, port, folder / "host.pub")
    try:
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield Board(home, SshAddress("127.0.0.1", getpass.getuser(), port, str(folder / "client"), python=str(python)))
    finally:
        server.kill()
        server.wait()


def find_sshd() -> str:
    """Path of OpenSSH's server; empty where it is not installed."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""


class Wire:
    """Forwards a port, and drops every connection when told to."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._pipes: set[asyncio.Task[None]] = set()
        self._loop = Loop()
        self.is_open = True
        self.num_cuts = 0
        self.num_connections = 0
        self._server = self._loop.run(asyncio.start_server(self._forward, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Drop what is connected now; new connections may be made."""
        self._loop.run(self._cut())

    def close(self) -> None:
        self._loop.run(self._close())
        self._loop.close()

    async def _close(self) -> None:
        # On the loop's own thread: a connection that ends meanwhile closes the server a second time.
        self._server.close()
        await self._cut()

    async def _cut(self) -> None:
        self.num_cuts += bool(self._pipes)
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        self.num_connections += 1
        far_writer: asyncio.StreamWriter | None = None
        try:
            if not self.is_open:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.wait(
                [asyncio.ensure_future(_pump(reader, far_writer)), asyncio.ensure_future(_pump(far_reader, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pipes.discard(task)
            for end in (writer, far_writer):
                if end is not None:
                    end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while block := await reader.read(1 << 16):
            writer.write(block)
            await writer.drain()
