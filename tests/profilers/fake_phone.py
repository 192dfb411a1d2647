"""A phone that is not there: an adb server on the loopback, and a folder and a shell of this machine behind it.

The wire is that of adb: `host:` services (version, devices, tport, features), `shell,v2:` and `sync:`, as in adb's SERVICES.TXT and
SYNC.TXT. Commands run in a real shell, so that quoting is tried for real; paths of Android lie in a folder. The benchmark programs
are shell scripts that print the documented formats with invented times.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SERIAL = "R3CN30ABCDE"
BENCHMARK_MODEL = """#!/bin/sh
for word in "$@"; do
  case "$word" in --graph=*) graph=${word#*=};; --num_runs=*) count=${word#*=};; esac
done
echo "INFO: STARTING!"
if ! head -c 8 "$graph" | grep -q TFL3; then echo "ERROR: Failed to load model $graph"; echo "ERROR: Benchmarking failed."; exit 1; fi
us=$((1000 + $(wc -c < "$graph") + $$ % 7))
echo "INFO: Loaded model $graph"
echo "INFO: Initialized session in 12.3ms."
echo "INFO: Running benchmark for at least 1 iterations and at least 0.1 seconds but terminate if exceeding 150 seconds."
echo "INFO: count=1 curr=19105"
echo
echo "INFO: Running benchmark for at least $count iterations and at least 0 seconds but terminate if exceeding 150 seconds."
if [ "$count" = 1 ]; then echo "INFO: count=1 curr=$us"
else echo "INFO: count=$count first=$us curr=$us min=$us max=$us avg=$us.5 std=3"; fi
echo
echo "INFO: Inference timings in us: Init: 12300, First inference: 19105, Warmup (avg): 14452.5, Inference (avg): $us.5"
"""
PERF_TEST = """#!/bin/sh
while [ $# -gt 2 ]; do
  [ "$1" = -r ] && count=$2
  shift
done
if ! grep -qE 'MatMul|Conv|Identity' "$1"; then echo "Load model from $1 failed:Protobuf parsing failed." >&2; exit 255; fi
echo "Session creation time cost: 0.0102016 s"
ns=$((1000000 + $(wc -c < "$1") * 1000))
run=0
while [ $run -lt $count ]; do
  echo "tmp,0.00$((ns + ($$ + run * 13) % 997)),36696064,96,$run" >> "$2"
  run=$((run + 1))
done
"""
EXECUTOR_RUNNER = """#!/bin/sh
for word in "$@"; do
  case "$word" in --model_path=*) model=${word#*=};; --num_executions=*) count=${word#*=};; esac
done
if ! head -c 8 "$model" | grep -q ET12; then echo "E 00:00:00.0 executorch:program.cpp:91] Program identifier wrong" >&2; exit 134; fi
us=$((count * (1000 + $(wc -c < "$model")) + 9000))
printf 'I 00:00:00.0 executorch:executor_runner.cpp:441] Model executed successfully %d time(s) in %d.%03d000 ms.\\n' \\
  $count $((us / 1000)) $((us % 1000)) >&2
"""
PROPERTIES = {
    "ro.product.manufacturer": "google",
    "ro.product.model": "Pixel 8",
    "ro.soc.model": "Tensor G3",
    "ro.board.platform": "zuma",
    "ro.build.version.release": "14",
}
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  level: 85
  temperature: 312
"""
PROGRAMS = {"benchmark_model": BENCHMARK_MODEL, "onnxruntime_perf_test": PERF_TEST, "executor_runner": EXECUTOR_RUNNER}


class FakePhone:
    """One phone and the adb server it hangs on."""

    def __init__(self, folder: Path) -> None:
        """Put the phone's files into the folder and start the server."""
        self.root = folder
        self.states = {SERIAL: "device"}
        self.room: int | None = None  # bytes that its disk still takes; None without end
        self.kill_next = False  # the next benchmark program is killed
        self.cut_after = ""  # the next command with this in it is done, but its answer is lost with the cable
        self.on_command: Callable[[str], None] = lambda command: None
        self.commands: list[str] = []
        self.tmp = folder / "data/local/tmp"
        self._open: set[socket.socket] = set()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._write_files()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def install(self, name: str) -> None:
        """Put a benchmark program on the phone."""
        self._write(f"data/local/tmp/{name}", PROGRAMS[name], executable=True)

    def set_heat(self, status: int, degrees: float = 36.5) -> None:
        lines = f"Thermal Status: {status}\nCached temperatures:\n"
        lines += f" Temperature{{mValue={degrees}, mType=0, mName=CPU0, mStatus={status}}}\n"
        self._write("state/thermalservice", lines + " Temperature{mValue=31.2, mType=2, mName=battery, mStatus=0}\n")

    def unplug(self) -> None:
        """Pull the cable: the phone is gone, and with it everything that was going on."""
        self.states.pop(SERIAL, None)
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def plug_in(self) -> None:
        self.states[SERIAL] = "device"

    def num_programs(self) -> int:
        """Commands that still run; those that are just ending get a moment."""
        deadline = time.monotonic() + 5
        while any(process.poll() is None for process in list(self._running)) and time.monotonic() < deadline:
            time.sleep(0.02)
        return sum(process.poll() is None for process in list(self._running))

    def close(self) -> None:
        self.unplug()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # it would take one more connection
        self._server.close()
        for process in list(self._running):
            process.kill()

    def _write_files(self) -> None:
        self._write("bin/getprop", "#!/bin/sh\ncat ROOT/state/$1 2>/dev/null\n", executable=True)
        self._write("bin/dumpsys", "#!/bin/sh\ncat ROOT/state/$1 2>/dev/null\n", executable=True)
        self._write("bin/settings", "#!/bin/sh\ncat ROOT/state/$3 2>/dev/null\n", executable=True)
        self._write("bin/taskset", '#!/bin/sh\necho "$1" >> ROOT/masks\nshift\nexec "$@"\n', executable=True)
        self._write("bin/df", "#!/bin/sh\ncat ROOT/state/df\n", executable=True)
        for name, value in PROPERTIES.items():
            self._write(f"state/{name}", value + "\n")
        self._write("state/battery", BATTERY)
        self._write("state/power", "  mWakefulness=Awake\n")
        self._write("state/low_power", "0\n")
        self._write(
            "state/df", "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/block/dm-5 1000 999 9000000 9% /data\n"
        )
        self.set_heat(0)
        for cpu, mhz in enumerate([1704, 1704, 1704, 1704, 2367, 2367, 2367, 2367, 2914]):
            for name, text in (
                ("cpuinfo_max_freq", mhz * 1000),
                ("scaling_max_freq", mhz * 1000),
                ("scaling_governor", "sched_pixel"),
            ):
                self._write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/{name}", f"{text}\n")
        self.tmp.mkdir(parents=True, exist_ok=True)

    def _write(self, name: str, text: str, *, executable: bool = False) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".new")  # never half there, and never busy as text
        part.write_text(text.replace("ROOT", str(self.root)))
        part.chmod(0o755 if executable else 0o644)
        part.rename(path)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.add(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            with connection:
                while self._serve_one(connection):
                    pass
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self._open.discard(connection)

    def _serve_one(self, connection: socket.socket) -> bool:
        service = _exactly(connection, int(_exactly(connection, 4), 16)).decode()
        kind, _, rest = service.partition(":")
        if service == "host:version":
            connection.sendall(b"OKAY" + _block("0029"))
        elif service == "host:devices":
            connection.sendall(b"OKAY" + _block("".join(f"{name}\t{state}\n" for name, state in self.states.items())))
        elif service.startswith("host:tport:serial:"):
            if not self._is_there(connection, service.rpartition(":")[2]):
                return False
            connection.sendall(b"OKAY" + bytes(8))
            return True
        elif kind == "host-serial" and rest.endswith(":features"):
            if self._is_there(connection, rest.rpartition(":")[0]):
                connection.sendall(b"OKAY" + _block("shell_v2,cmd,stat_v2"))
        elif kind == "shell,v2":
            connection.sendall(b"OKAY")
            self._shell(connection, rest)
        elif service == "sync:":
            connection.sendall(b"OKAY")
            self._sync(connection)
        else:
            connection.sendall(b"FAIL" + _block("unknown host service"))
        return False

    def _is_there(self, connection: socket.socket, serial: str) -> bool:
        if self.states.get(serial) == "device":
            return True
        connection.sendall(b"FAIL" + _block(f"device '{serial}' not found"))
        return False

    def _shell(self, connection: socket.socket, command: str) -> None:
        self.commands.append(command)
        self.on_command(command)
        process = subprocess.Popen(
            ["sh", "-c", self._here(command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.root,
            env={"PATH": f"{self.root / 'bin'}:{os.environ['PATH']}"},
            start_new_session=True,
        )
        self._running.add(process)
        if self.kill_next and "exec" in command:
            self.kill_next = False
            process.kill()
        watch = threading.Thread(target=_hang_up_with, args=(connection, process), daemon=True)
        watch.start()
        assert process.stdout is not None
        with process.stdout:
            for block in iter(lambda: os.read(process.stdout.fileno(), 4096), b""):  # type: ignore[union-attr]
                with suppress(OSError):
                    connection.sendall(struct.pack("<BI", 1, len(block)) + block)
        code = process.wait()
        self._running.discard(process)
        if self.cut_after and self.cut_after in command:
            self.cut_after = ""
            self.unplug()
            self.plug_in()
        connection.sendall(struct.pack("<BIB", 3, 1, code if code >= 0 else 128 - code))

    def _sync(self, connection: socket.socket) -> None:
        kind, size = struct.unpack("<4sI", _exactly(connection, 8))
        name = _exactly(connection, size).decode()
        if kind == b"STAT":
            path = Path(self._here(name))
            size = path.stat().st_size if path.exists() else 0
            connection.sendall(b"STAT" + struct.pack("<III", 0o100644 if path.exists() else 0, size, int(path.exists())))
        elif kind == b"SEND":
            self._receive(connection, Path(self._here(name.rpartition(",")[0])))

    def _receive(self, connection: socket.socket, path: Path) -> None:
        room, is_full = self.room, False
        with path.open("wb") as file:
            while True:
                kind, size = struct.unpack("<4sI", _exactly(connection, 8))
                if kind == b"DONE":
                    break
                block = _exactly(connection, size)
                is_full = is_full or (room is not None and file.tell() + len(block) > room)
                if not is_full:
                    file.write(block)
        message = b"couldn't write: No space left on device"
        connection.sendall(b"FAIL" + struct.pack("<I", len(message)) + message if is_full else b"OKAY" + bytes(4))

    def _here(self, text: str) -> str:
        return text.replace("/data/local/tmp", str(self.tmp)).replace("/sys/devices", f"{self.root}/sys/devices")


def _hang_up_with(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """As adbd does: the end of the connection ends the command."""
    with suppress(OSError):
        while connection.recv(1024):
            pass
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGHUP)


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        block = connection.recv(size - len(found))
        if not block:
            raise EOFError
        found += block
    return found


def _block(text: str) -> bytes:
    return f"{len(text):04x}{text}".encode()


def write_phone_model(path: Path, size: int = 64) -> Path:
    """A file that begins as those of LiteRT and ExecuTorch do, for programs that read no further."""
    path.write_bytes(bytes(4) + (b"ET12" if path.suffix == ".pte" else b"TFL3") + bytes(size))
    return path
