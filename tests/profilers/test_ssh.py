"""Boards over SSH: real servers on this machine, real processes behind them, and connections that break."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("asyncssh")

import profilers
from profilers.job import Job, ModelFile
from profilers.package import copy_package
from profilers.results import read_results
from profilers.settings import Settings
from profilers.transports.ssh import SshTransport
from tests.contracts.transport_contract import TransportCase, TransportContract
from tests.profilers.loopback import Board, Wire, asyncssh_board, find_sshd, openssh_board, write_known_hosts
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

    def cut_at_random() -> None:
        while wire.num_cuts < 20 and not is_over.wait(rng.uniform(0.0, 0.5)):
            wire.cut()

    # So long that the cuts come at all times: in the handshake, among the models, while rows arrive.
    steady = replace(job.settings, half_width=1e-9, round_ms=10.0, cap_s=1.5)
    results, events = folder / "results.jsonl", list[dict[str, Any]]()
    transport = SshTransport(replace(board.address, port=wire.port), first_pause_s=0.01)
    scissors = threading.Thread(target=cut_at_random)
    try:
        transport.facts()
        scissors.start()
        rows = transport.run_job(replace(job, settings=steady), results, on_event=events.append)
    finally:
        is_over.set()
        scissors.join()
        wire.close()
    assert wire.num_cuts >= 20
    kept = read_results(results).measurements
    assert Counter(row.id for row in kept) == dict.fromkeys(["m0", "m1", "m2", "m3"], 1)
    assert {row.key for row in kept} == {row.key for row in rows}
    told = Counter(event["measurement"]["id"] for event in events if event["event"] == "measurement")
    assert told == dict.fromkeys(["m0", "m1", "m2", "m3"], 1)
    assert "waiting" in {event["event"] for event in events}
    assert num_agents(folder) == 0
