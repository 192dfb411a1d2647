"""Boards over SSH: real servers on this machine, real processes behind them, and connections that break."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

import profilers
from profilers.board_job import BoardJob, storage_error
from profilers.errors import JobError, ModelFileError, RuntimeNotInstalledError, TransportError, WorkerDiedError
from profilers.job import Job, ModelFile, save_job
from profilers.package import copy_package
from profilers.results import read_results
from profilers.settings import Settings
from profilers.transports.ssh import SshTransport
from profilers.transports.ssh_connection import SshAddress, SshConnection
from tests.contracts.transport_contract import TransportCase, TransportContract
from tests.profilers.loopback import PASSWORD, Board, Wire, asyncssh_board, find_sshd, openssh_board, write_known_hosts
from tests.profilers.onnxruntime_case import transport_case
from tests.profilers.processes import num_agents
from tests.profilers.small_models import write_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HOME of the client and TMPDIR of the board."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


@pytest.fixture
def board(folder: Path) -> Iterator[Board]:
    with asyncssh_board(folder) as board:
        yield board


@pytest.fixture
def job(folder: Path, quick: Settings) -> Job:
    models = tuple(ModelFile(f"m{n}", write_model(folder / f"m{n}.onnx", repeats=n)) for n in range(4))
    return Job(runtime="onnxruntime", models=models, settings=quick, group_size=2)


class TestSshToAsyncssh(TransportContract):
    @pytest.fixture
    def case(self, folder: Path, board: Board, quick: Settings) -> TransportCase:
        return transport_case(SshTransport(board.address), folder, quick)


@pytest.mark.skipif(
    not find_sshd(), reason="needs OpenSSH's server, which is not installed here (apt-get install openssh-server)"
)
class TestSshToOpenSsh(TransportContract):
    @pytest.fixture
    def case(self, folder: Path, quick: Settings) -> Iterator[TransportCase]:
        with openssh_board(folder) as board:
            yield transport_case(SshTransport(board.address), folder, quick)


# What the board keeps


def test_the_package_is_copied_once_and_again_when_it_is_damaged(board: Board) -> None:
    SshTransport(board.address).facts()
    home = board.cache / "package" / copy_package().digest
    agent = home / "profilers" / "agent.py"
    first = agent.stat()
    SshTransport(board.address).facts()
    assert (agent.stat().st_ino, agent.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    agent.write_text("damaged")
    SshTransport(board.address).facts()
    assert agent.read_bytes() == Path(profilers.__file__).with_name("agent.py").read_bytes()
    assert [path.name for path in (board.cache / "package").iterdir()] == [home.name]


def test_a_finished_job_leaves_nothing_behind(board: Board, job: Job, tmp_path: Path) -> None:
    SshTransport(board.address).run_job(job, tmp_path / "r.jsonl")
    assert list((board.cache / "jobs").iterdir()) == []


def test_what_nobody_came_back_for_is_removed(board: Board) -> None:
    old, new = board.cache / "jobs" / ("0" * 64), board.cache / "jobs" / ("1" * 64)
    for place in (old, new):
        place.mkdir(parents=True)
    os.utime(old, (0, 0))
    SshTransport(board.address).facts()
    assert (old.exists(), new.exists()) == (False, True)


def test_words_of_a_login_script_do_no_harm(folder: Path) -> None:
    with asyncssh_board(folder, motd="Welcome to the board!\n{not json\n") as board:
        SshTransport(board.address).facts()


# Connections that break


def test_cut_again_and_again_no_row_is_lost_or_doubled(board: Board, job: Job, folder: Path) -> None:
    wire = Wire(board.address.port or 0)
    write_known_hosts(folder, wire.port, folder / "keys" / "host.pub")
    rng = random.Random(0)
    is_over = threading.Event()

    results, events = folder / "results.jsonl", list[dict[str, Any]]()

    def cut_at_random() -> None:
        while wire.num_cuts < 20 and not is_over.wait(rng.uniform(0.0, pace_s)):
            # Before the board has taken the job, three losses in a row would be an answer: there is no such board.
            if wire.num_cuts < 2 or {event["event"] for event in events} - {"waiting"}:
                wire.cut()

    transport = SshTransport(replace(board.address, port=wire.port), first_pause_s=0.01)
    scissors = threading.Thread(target=cut_at_random)
    try:
        started = time.monotonic()
        transport.facts()
        # In proportion to how fast this machine is just now, the cuts come at all times: in the handshake, among the models, while rows arrive.
        pace_s = (time.monotonic() - started) / 2
        steady = replace(job.settings, half_width=1e-9, round_ms=10.0, cap_s=4 * pace_s)
        scissors.start()
        rows = transport.run_job(replace(job, settings=steady), results, on_event=events.append)
    finally:
        is_over.set()
        scissors.join()
        wire.close()
    assert wire.num_cuts >= 10
    kept = read_results(results).measurements
    assert Counter(row.id for row in kept) == dict.fromkeys(["m0", "m1", "m2", "m3"], 1)
    assert {row.key for row in kept} == {row.key for row in rows}
    told = Counter(event["measurement"]["id"] for event in events if event["event"] == "measurement")
    assert told == dict.fromkeys(["m0", "m1", "m2", "m3"], 1)
    assert "waiting" in {event["event"] for event in events}
    assert num_agents(folder) == 0


def test_a_job_goes_on_without_its_caller(board: Board, job: Job, folder: Path) -> None:
    results = folder / "results.jsonl"
    steady = replace(job, settings=replace(job.settings, half_width=1e-9, round_ms=10.0, cap_s=0.5))
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from profilers.job import load_job\n"
        "from profilers.transports.ssh import SshTransport\n"
        "from profilers.transports.ssh_connection import SshAddress\n"
        "def die(event):\n"
        "    if event['event'] == 'measurement': os.kill(os.getpid(), signal.SIGKILL)\n"
        f"SshTransport({board.address!r}).run_job(load_job(Path({str(folder / 'job.json')!r})), Path({str(results)!r}), die)\n"
    )
    save_job(steady, folder / "job.json")
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(profilers.__file__).parents[1], check=False)
    assert killed.returncode == -signal.SIGKILL
    (row,) = read_results(results).measurements
    (place,) = (board.cache / "jobs").iterdir()
    run = BoardJob(place).run
    starts = list[str]()
    rows = SshTransport(board.address).run_job(steady, results, lambda event: starts.append(str(BoardJob(place).run)))
    assert set(starts) == {run}  # it was found again, not started again
    kept = read_results(results).measurements
    assert sorted(row.id for row in kept) == ["m0", "m1", "m2", "m3"]
    assert row in rows
    assert list((board.cache / "jobs").iterdir()) == []


def test_a_connection_that_does_not_come_back_is_told_and_loses_nothing(board: Board, job: Job, folder: Path) -> None:
    results = folder / "results.jsonl"
    wire = Wire(board.address.port or 0)
    write_known_hosts(folder, wire.port, folder / "keys" / "host.pub")

    def unplug(event: dict[str, Any]) -> None:
        if event["event"] == "measurement" and wire.is_open:
            wire.is_open = False
            wire.cut()

    transport = SshTransport(replace(board.address, port=wire.port), patience_s=0.5, first_pause_s=0.1)
    try:
        with pytest.raises(TransportError, match=r"must come back within 0.5 s.*goes on there.*run the same command again"):
            transport.run_job(job, results, on_event=unplug)
        assert len(read_results(results).measurements) >= 1
        wire.is_open = True
        assert len(transport.run_job(job, results)) == 4
    finally:
        wire.close()
    assert sorted(row.id for row in read_results(results).measurements) == ["m0", "m1", "m2", "m3"]


def test_a_killed_agent_is_told_and_the_job_can_go_on(board: Board, job: Job, folder: Path) -> None:
    results = folder / "results.jsonl"

    def kill_agent(event: dict[str, Any]) -> None:
        if event["event"] == "measurement":
            (place,) = (board.cache / "jobs").iterdir()
            os.killpg(BoardJob(place).process_group, signal.SIGKILL)

    steady = replace(job, settings=replace(job.settings, half_width=1e-9, round_ms=10.0, cap_s=0.3))
    with pytest.raises(WorkerDiedError, match=r"died on the device: killed without a word.*run the job again"):
        SshTransport(board.address).run_job(steady, results, on_event=kill_agent)
    kept = read_results(results).measurements
    rows = SshTransport(board.address).run_job(steady, results)
    assert len(rows) == 4
    assert set(kept) <= set(rows)
    assert Counter(row.id for row in read_results(results).measurements) == dict.fromkeys(["m0", "m1", "m2", "m3"], 1)


# One sentence each


def refusal(address: SshAddress) -> str:
    with pytest.raises(TransportError) as caught:
        SshTransport(address).facts()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_host_key_is_never_trusted(board: Board, folder: Path) -> None:
    (folder / ".ssh" / "known_hosts").unlink()
    sentence = refusal(board.address)
    assert "has none for it (SHA256:" in sentence
    assert f"run 'ssh -p {board.address.port} tester@127.0.0.1' once" in sentence
    (folder / ".ssh" / "config").write_text("Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n")
    assert "has none for it" in refusal(board.address)


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
def test_another_host_key_is_never_trusted(board: Board, folder: Path, kind: str) -> None:
    (folder / ".ssh" / "known_hosts").unlink()
    asyncssh.generate_private_key(kind).write_public_key(folder / "other.pub")
    write_known_hosts(folder, board.address.port or 0, folder / "other.pub")
    sentence = refusal(board.address)
    assert "another machine answers in its place" in sentence
    assert f"ssh-keygen -R '[127.0.0.1]:{board.address.port}'" in sentence


def test_a_password_is_taken_from_a_file(board: Board, folder: Path) -> None:
    file = folder / "password"
    address = replace(board.address, identity_file=None, password_file=str(file))
    file.write_text(PASSWORD + "\n")
    file.chmod(0o600)
    SshTransport(address).facts()
    file.write_text("wrong")
    assert "it refuses the password; run 'ssh-copy-id" in refusal(address)
    file.chmod(0o644)
    assert "chmod 600" in refusal(address)
    file.unlink()
    assert "password_file must be a file" in refusal(address)


def test_a_wrong_key_is_told(board: Board, folder: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(folder / "stranger")
    assert "it refuses the key" in refusal(replace(board.address, identity_file=str(folder / "stranger")))
    (folder / "stranger").write_text("no key at all")
    assert "cannot be used" in refusal(replace(board.address, identity_file=str(folder / "stranger")))
    assert "identity_file must be a file" in refusal(replace(board.address, identity_file="~/none"))
    assert "it refuses your keys" in refusal(replace(board.address, identity_file=None))


def test_a_host_that_is_not_there_is_told(board: Board) -> None:
    assert "nothing listens on port 1;" in refusal(replace(board.address, port=1))
    assert "must have an address" in refusal(replace(board.address, host="no-such-host.invalid"))


def test_the_users_own_configuration_counts(board: Board, folder: Path) -> None:
    (folder / ".ssh" / "config").write_text(
        f"Host jetson\n  HostName 127.0.0.1\n  Port {board.address.port}\n  User tester\n"
        f"  IdentityFile {board.address.identity_file}\n  HostKeyAlias [127.0.0.1]:{board.address.port}\n"
        "  RemoteCommand echo this is not what was asked for\n"
    )
    SshTransport(SshAddress("jetson", python=sys.executable)).facts()


def test_a_python_that_is_not_there_is_told(board: Board) -> None:
    with pytest.raises(RuntimeNotInstalledError, match=r"'no such python'.*cannot be started.*apt install python3"):
        SshTransport(replace(board.address, python="no such python")).facts()


def test_an_old_python_is_told(board: Board, wrapper: Callable[[str], str]) -> None:
    # It says that it is 3.6; all else is this Python.
    python = wrapper(f'exec "{sys.executable}" -c "import sys; sys.version_info = (3, 6, 9, 0, 0); $2"')
    with pytest.raises(RuntimeNotInstalledError, match=r"must be 3.8 or newer, but .* is 3.6.9; install a newer one"):
        SshTransport(replace(board.address, python=python)).facts()


def test_something_else_in_place_of_python_is_told(board: Board, wrapper: Callable[[str], str]) -> None:
    with pytest.raises(TransportError, match=r"exit status 3 \(I am no Python\)"):
        SshTransport(replace(board.address, python=wrapper("echo I am no Python >&2; exit 3"))).facts()


@pytest.mark.parametrize(
    ("package", "cure"), [("numpy", "apt install python3-numpy"), ("onnxruntime", "pip install onnxruntime")]
)
def test_a_missing_package_is_told(
    board: Board, job: Job, folder: Path, wrapper: Callable[[str], str], package: str, cure: str
) -> None:
    (folder / f"{package}.py").write_text(f"raise ModuleNotFoundError('No module named {package}', name='{package}')")
    transport = SshTransport(replace(board.address, python=wrapper(f'PYTHONPATH="{folder}" exec "{sys.executable}" "$@"')))
    with pytest.raises(RuntimeNotInstalledError, match=f"{package}.*{cure}"):
        transport.facts()
    with pytest.raises(RuntimeNotInstalledError, match=f"{package}.*{cure}"):
        transport.run_job(job, folder / "results.jsonl")


def test_a_disk_without_room_is_told(folder: Path, job: Job) -> None:
    big = folder / "big.onnx"
    big.write_bytes(bytes(1 << 20))
    # Files above this size are refused as on a full disk; the package fits.
    with asyncssh_board(folder, setup=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))) as board:
        transport = SshTransport(board.address)
        with pytest.raises(TransportError, match=r"must have room in .*natdeploy', but its disk is full \(\d+ MB free\); free"):
            transport.run_job(job.with_models([ModelFile("big", big)]), folder / "results.jsonl")
        assert len(transport.run_job(job, folder / "results.jsonl")) == 4


def test_a_disk_without_room_for_the_package_is_told(folder: Path) -> None:
    with asyncssh_board(folder, setup=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))) as board:
        assert "its disk is full" in refusal(board.address)


def test_a_place_that_cannot_be_written_is_told(board: Board) -> None:
    (board.home / ".cache").write_text("a file, where a folder must be")
    assert "must be able to write to" in refusal(board.address)
    assert "may not (Permission denied); change its owner" in str(
        storage_error(board.home, PermissionError(13, "Permission denied"))
    )


def test_a_model_that_changes_under_way_is_refused(board: Board, job: Job) -> None:
    with SshConnection(board.address) as connection:
        path = Path(job.models[0].path)
        request = {"do": "put", "job": "0" * 64, "sha256": "1" * 64, "size": path.stat().st_size}
        with pytest.raises(ModelFileError, match="must not change while it is copied"):
            connection.ask(request, content=path)
        # The connection is still good.
        assert connection.ask({"do": "missing", "job": "0" * 64, "sha256": ["1" * 64]}) == {"missing": ["1" * 64]}
        with pytest.raises(JobError, match="64 hex digits"):
            connection.ask({"do": "forget", "job": "../../precious"})


@pytest.fixture
def wrapper(folder: Path) -> Callable[[str], str]:
    """Make a program that stands for the board's Python."""

    def make(script: str) -> str:
        path = folder / "it's a python"  # a quote, which a careless shell would stumble over
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return make
