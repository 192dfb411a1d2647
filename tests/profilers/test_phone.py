"""Phones over adb. No phone was at hand: an adb server of the tests speaks the wire, and benchmark programs of the tests answer."""

from __future__ import annotations

import gc
import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import profilers
from profilers.device_facts import warnings_of
from profilers.errors import JobError, ModelFileError, RuntimeFailedError, RuntimeNotInstalledError, TransportError
from profilers.job import Job, ModelFile
from profilers.results import read_results
from profilers.runtimes import model_suffix, open_runtime
from profilers.runtimes.phone import open_phone_runtime
from profilers.runtimes.phone.connection import FOLDER, Phone
from profilers.runtimes.phone.runtime import PhoneRuntime
from profilers.runtimes.phone.state import Heat, facts_of, heat_of
from profilers.runtimes.phone.tools import parse_benchmark_model, parse_executor_runner, parse_perf_test
from profilers.settings import Settings
from profilers.transports.adb import AdbTransport
from profilers.worker import measure_group
from tests.contracts.runtime_contract import RuntimeCase, RuntimeContract
from tests.contracts.transport_contract import TransportCase, TransportContract
from tests.profilers.fake_phone import SERIAL, FakePhone, write_phone_model
from tests.profilers.processes import num_agents
from tests.profilers.small_models import write_model

pytest.importorskip("adbutils")
# adbutils leaves the socket open when a phone is gone at the wrong moment.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePhone]:
    phone = FakePhone(tmp_path / "phone")
    phone.install("benchmark_model")
    monkeypatch.setenv("ANDROID_ADB_SERVER_HOST", "127.0.0.1")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(phone.port))
    yield phone
    phone.close()
    gc.collect()  # here, and not in a test that knows nothing of it


@pytest.fixture
def impatient(phone: FakePhone) -> PhoneRuntime:
    """A runtime that does not wait long for a phone that is away."""
    return PhoneRuntime("litert", Phone(SERIAL, patience_s=0.3))


class TestAdb(TransportContract):
    @pytest.fixture
    def case(self, phone: FakePhone, tmp_path: Path, quick: Settings) -> TransportCase:
        garbage = tmp_path / "garbage.tflite"
        garbage.write_bytes(b"this is not a model")

        def kill_worker() -> None:
            phone.kill_next = True

        return TransportCase(
            transport=profilers.open_transport({"transport": "adb"}),
            runtime="litert",
            models=tuple(write_phone_model(tmp_path / f"{name}.tflite", size) for size, name in enumerate("abc", 50)),  # type: ignore[arg-type]
            refused=garbage,
            wrong_batch=None,
            quick=quick,
            slow=replace(quick, half_width=1e-9, round_ms=20.0, cap_s=0.4),
            kill_worker=kill_worker,
            num_processes=lambda: num_agents(tmp_path) + phone.num_programs(),
        )


class PhoneCase(RuntimeContract):
    """The same checks for each program."""

    name = ""
    program = ""

    @pytest.fixture
    def case(self, phone: FakePhone, tmp_path: Path) -> RuntimeCase:
        phone.install(self.program)
        model = tmp_path / f"model{model_suffix(self.name)}"
        if self.name == "onnxruntime":
            write_model(model)
        else:
            write_phone_model(model)
        return RuntimeCase(open_runtime(f"{self.name}:adb:{SERIAL}"), model, expected=None)


class TestBenchmarkModel(PhoneCase):
    name, program = "litert", "benchmark_model"


class TestPerfTest(PhoneCase):
    name, program = "onnxruntime", "onnxruntime_perf_test"

    def test_each_run_is_told_and_warm_up_is_none(self, case: RuntimeCase) -> None:
        with case.runtime.load(case.model) as session:
            times = session.run_many(7, warm_up_ms=20)  # type: ignore[attr-defined]
        assert len(times) == 7
        assert all(1_000_000 < ns < 2_000_000 for ns in times)

    def test_what_it_refuses_is_told(self, case: RuntimeCase, tmp_path: Path) -> None:
        path = write_model(tmp_path / "strange.onnx")
        path.write_bytes(path.read_bytes().replace(b"MatMul", b"NatMul"))
        with pytest.raises(ModelFileError, match=r"strange.*exit status 255 \(Load model from"):
            case.runtime.load(path)

    def test_an_open_batch_is_named(self, case: RuntimeCase, phone: FakePhone, tmp_path: Path) -> None:
        with case.runtime.load(case.model, batch_size=4):
            assert any(" -f batch:4 " in command for command in phone.commands)
        with pytest.raises(ModelFileError, match="batches of 5"):
            case.runtime.load(write_model(tmp_path / "three.onnx", batch=3), batch_size=5)


class TestExecutorRunner(PhoneCase):
    name, program = "executorch", "executor_runner"

    def test_what_the_first_runs_cost_is_no_part_of_a_run(self, case: RuntimeCase) -> None:
        with case.runtime.load(case.model) as session:
            (ns,) = session.run_many(10, warm_up_ms=20)  # type: ignore[attr-defined]
        assert ns == 1000 * (1000 + case.model.stat().st_size)


BENCHMARK_2021 = """STARTING!
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=2 first=339304 curr=266325 min=266325 max=339304 avg=302814 std=36489

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=266601 curr=266931 min=265837 max=268116 avg=266473 std=419

Inference timings in us: Init: 20283, First inference: 339304, Warmup (avg): 302814, Inference (avg): 266473
"""
BENCHMARK_2025 = """INFO: count=3 first=300000 curr=1 min=1 max=300000 avg=211669 std=9 p5=1 median=2 p95=3
INFO: count=25 first=187533 curr=140990 min=140071 max=195121 avg=1.45528e+05 std=13583 p5=140545 median=141253 p95=187533
"""


def test_both_forms_of_benchmark_model_are_read() -> None:
    assert parse_benchmark_model(BENCHMARK_2021, 50) == 266_473_000
    assert parse_benchmark_model(BENCHMARK_2025, 25) == 141_253_000
    assert parse_benchmark_model(BENCHMARK_2025.replace(" median=141253", ""), 25) == 145_528_000
    assert parse_benchmark_model("count=1 curr=751932\n\ncount=1 curr=747428\n", 1) == 747_428_000
    assert parse_benchmark_model("count=1 curr=9\ncount=10 curr=500(all same)\n", 10) == 500_000
    for output, count in ((BENCHMARK_2021, 49), (BENCHMARK_2021.split("count=50")[0], 2), ("", 1)):
        with pytest.raises(RuntimeFailedError, match="benchmark_model must print"):
            parse_benchmark_model(output, count)


def test_the_result_file_of_perf_test_is_read() -> None:
    text = "squeezenet,0.00183404,36696064,96,0\nsqueeze,net,1.9e-05,36696064,-1,1\n\nMin Latency: 0.0018 s\n"
    assert parse_perf_test(text) == (1_834_040, 19_000)
    assert parse_perf_test("") == ()


def test_the_log_of_executor_runner_is_read() -> None:
    line = "I 00:00:00.004 executorch:executor_runner.cpp:441] Model executed successfully 10 time(s) in 12.500000 ms.\n"
    assert parse_executor_runner("I Method loaded.\n" + line, 10) == 12_500_000
    for output in (line, line.replace(" in 12.500000 ms", ""), ""):
        with pytest.raises(RuntimeFailedError, match="logcat"):
            parse_executor_runner(output, 11)


def test_facts_are_those_of_the_phone(phone: FakePhone) -> None:
    facts, target = AdbTransport().facts(threads=2)
    assert (facts.board, facts.cpu_model, facts.num_cores, facts.governor) == ("Google Pixel 8", "Tensor G3", 9, "sched_pixel")
    assert facts.cpu_clusters == "0-3 at 1704 MHz, 4-7 at 2367 MHz, 8 at 2914 MHz"
    assert (facts.battery_percent, facts.battery_c, facts.is_charging) == (85, 31.2, True)
    assert (facts.thermal_status, facts.temperature_c, facts.is_screen_on, facts.is_saving_power) == (0, 36.5, True, False)
    assert facts.kernel.endswith("(Android 14)")
    assert re.fullmatch(r"google-pixel-8\.litert-sha256-[0-9a-f]{12}\.fp32\.t2\.binary\.b1", target.key)
    assert type(facts).from_json(facts.to_json()) == facts


def test_a_phone_that_tells_nothing_has_facts_all_the_same() -> None:
    facts = facts_of("")
    assert (facts.num_cores, facts.thermal_status, facts.is_charging, facts.is_screen_on) == (1, None, None, None)
    assert facts.device == "unknown-1c"
    assert heat_of("Temperature{mValue=-40.0, mType=0, mName=x, mStatus=0}").hottest_c is None


def test_heat_is_that_of_now_and_of_thermometers() -> None:
    text = """Thermal Status: 2
Cached temperatures:
\tTemperature{mValue=99.0, mType=0, mName=CPU, mStatus=0}
Current temperatures from HAL:
\tTemperature{mValue=44.5, mType=0, mName=CPU, mStatus=2}
\tTemperature{mValue=33.3, mType=2, mName=BAT, mStatus=0}
\tTemperature{mValue=73, mType=8, mName=soc, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=1, mType=6, mName=lcd-backlight}
"""
    assert heat_of(text) == Heat(2, 44.5, 33.3)


def test_what_makes_times_doubtful_is_warned_of(phone: FakePhone) -> None:
    facts, _ = AdbTransport().facts()
    assert {warning.kind for warning in warnings_of(facts)} == {"governor"}
    warm = replace(facts, governor=None, thermal_status=2, battery_c=39.0, is_saving_power=True)
    assert [warning.kind for warning in warnings_of(warm)] == ["throttled", "temperature", "governor"]


def test_models_run_on_the_cores_that_were_asked_for(phone: FakePhone, tmp_path: Path, quick: Settings) -> None:
    job = Job("litert", (ModelFile("a", write_phone_model(tmp_path / "a.tflite")),), affinity=(4, 8), settings=quick)
    (row,) = AdbTransport().run_job(job, tmp_path / "r.jsonl")
    assert set((phone.root / "masks").read_text().split()) == {"110"}
    assert row.affinity == (4, 8)
    assert {"aggregated"} <= {warning.kind for warning in row.warnings}
    assert row.runs_per_sample >= quick.min_runs
    assert row.sitting is not None
    assert row.sitting.conditions[0].temperature_c == 36.5
    assert not list((phone.tmp / "natdeploy").iterdir())  # nothing is left there
    with pytest.raises(JobError, match=r"0 to 8"):
        AdbTransport().run_job(replace(job, affinity=(9,)), tmp_path / "r.jsonl")


def test_a_hot_phone_is_waited_for_and_the_round_taken_again(
    phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilers.runtimes.phone.runtime._COOL_POLL_S", 0.01)
    with open_runtime(f"litert:adb:{SERIAL}").load(write_phone_model(tmp_path / "a.tflite")) as session:
        phone.commands.clear()
        phone.set_heat(2, 51.0)
        threading.Timer(0.3, phone.set_heat, [0]).start()
        session.run_many(10, warm_up_ms=1)  # type: ignore[attr-defined]
    assert sum("exec env" in command for command in phone.commands) == 2


def test_a_phone_that_stays_hot_is_measured_once_patience_is_over(
    phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilers.runtimes.phone.runtime._COOL_POLL_S", 0.01)
    monkeypatch.setattr("profilers.runtimes.phone.runtime._COOL_S", 0.1)
    runtime = open_runtime(f"litert:adb:{SERIAL}")
    phone.set_heat(1)
    with runtime.load(write_phone_model(tmp_path / "a.tflite")) as session:
        for _ in range(3):
            session.run_many(10, warm_up_ms=1)  # type: ignore[attr-defined]
    assert runtime.open_sampler().sample().num_throttled == 1  # type: ignore[attr-defined]


def test_a_phone_that_is_hot_at_the_start_is_waited_for(
    phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilers.runtimes.phone.runtime._COOL_POLL_S", 0.01)
    phone.set_heat(3)

    def cool_once_asked() -> None:
        while _num_heat_questions(phone.commands) < 2:  # a question is listed before it is answered
            time.sleep(0.01)
        phone.set_heat(0)

    cooling = threading.Thread(target=cool_once_asked, daemon=True)
    cooling.start()
    with open_runtime(f"litert:adb:{SERIAL}").load(write_phone_model(tmp_path / "a.tflite")):
        first_run = next(place for place, command in enumerate(phone.commands) if "exec env" in command)
    cooling.join()
    assert _num_heat_questions(phone.commands[:first_run]) > 1


def _num_heat_questions(commands: list[str]) -> int:
    return sum("Thermal Status" in command for command in commands)


@pytest.mark.parametrize(
    ("states", "serial", "sentence"),
    [
        ({}, None, "adb lists none"),
        ({"one": "device", "two": "device"}, None, r'2 are connected \(one, two\); write serial = "one"'),
        ({"one": "device"}, "three", r"adb lists \(one\), but 'three' came"),
        ({SERIAL: "unauthorized"}, None, "accept the question"),
        ({SERIAL: "offline"}, SERIAL, "offline"),
        ({SERIAL: "no permissions (missing udev rules?)"}, SERIAL, "udev rules"),
        ({SERIAL: "recovery"}, SERIAL, "state 'recovery'"),
    ],
)
def test_a_phone_that_cannot_be_used_is_told_in_a_sentence(
    phone: FakePhone, states: dict[str, str], serial: str | None, sentence: str
) -> None:
    phone.states = states
    with pytest.raises(TransportError, match=sentence) as found:
        AdbTransport(serial).facts()
    assert str(found.value).count(". ") == 0


def test_a_server_that_does_not_run_is_not_started(phone: FakePhone, monkeypatch: pytest.MonkeyPatch) -> None:
    phone.close()
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/no/such/adb")
    with pytest.raises(TransportError, match="adb start-server"):
        AdbTransport().facts()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "many")
    with pytest.raises(TransportError, match="must be a number"):
        AdbTransport().facts()


def test_what_is_missing_on_the_phone_is_named(phone: FakePhone) -> None:
    with pytest.raises(RuntimeNotInstalledError, match=r"onnxruntime_perf_test.*litert could be measured"):
        AdbTransport().facts(runtime="onnxruntime")
    (phone.tmp / "benchmark_model").chmod(0o644)
    with pytest.raises(RuntimeNotInstalledError, match="chmod"):
        AdbTransport().facts()
    (phone.tmp / "benchmark_model").unlink()
    with pytest.raises(RuntimeNotInstalledError, match="is not there;"):
        AdbTransport().facts()
    phone.install("benchmark_model")
    with pytest.raises(RuntimeNotInstalledError, match="one of litert, onnxruntime, executorch"):
        AdbTransport().facts(runtime="tensorrt")
    with pytest.raises(RuntimeNotInstalledError, match="TensorRT"):
        AdbTransport().check_builds("tensorrt")
    with pytest.raises(JobError, match="nvpmodel"):
        AdbTransport().facts(power_mode="15W")


def test_a_program_for_another_processor_is_named(phone: FakePhone, tmp_path: Path) -> None:
    (phone.tmp / "benchmark_model").write_text("#!/no/such/interpreter\n")
    with pytest.raises(RuntimeNotInstalledError, match="built for the processor"):
        open_runtime(f"litert:adb:{SERIAL}").load(write_phone_model(tmp_path / "a.tflite"))
    assert not list((phone.tmp / "natdeploy").iterdir())


def test_a_full_disk_is_told_with_what_is_free(phone: FakePhone, tmp_path: Path) -> None:
    phone.room = 1000
    phone._write("state/df", "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/block/dm-5 2000 1999 1 99% /data\n")
    with pytest.raises(TransportError, match=r"disk is full \(0.0 MB free\)"):
        open_runtime(f"litert:adb:{SERIAL}").load(write_phone_model(tmp_path / "a.tflite", 70_000))
    assert not list((phone.tmp / "natdeploy").iterdir())
    phone._write("state/df", "nonsense")
    with pytest.raises(TransportError, match="did not arrive whole"):
        open_runtime(f"litert:adb:{SERIAL}").load(write_phone_model(tmp_path / "a.tflite", 70_000))


@pytest.mark.parametrize("name", ["a b", "-x", "", "a;reboot", "a\nb", "../x", "é"])
def test_a_serial_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(TransportError, match="serial"):
        Phone(name)


@pytest.mark.parametrize("program", ["/x\n", "/bin/"])
def test_a_path_that_cannot_be_one_is_refused(program: str) -> None:
    with pytest.raises(TransportError, match="full path"):
        open_phone_runtime("litert", f"adb:{SERIAL}{program}")


def test_nothing_that_comes_from_outside_reaches_the_shell_as_a_command(phone: FakePhone, tmp_path: Path) -> None:
    evil = phone.tmp / "$(touch pwned); touch pwned & `touch pwned` 'x' \"y\""
    (phone.tmp / "benchmark_model").rename(evil)
    runtime = PhoneRuntime("litert", Phone(SERIAL), f"/data/local/tmp/{evil.name}")
    with runtime.load(write_phone_model(tmp_path / "a; touch pwned.tflite")) as session:
        session.run()
    assert not list(tmp_path.rglob("pwned"))
    assert FOLDER in " ".join(phone.commands)


@pytest.mark.parametrize(
    ("runtime", "command"),
    [("litert", "mv "), ("litert", "exec env"), ("onnxruntime", "exec env"), ("onnxruntime", "cat "), ("litert", "rm -f")],
)
def test_a_command_whose_answer_was_lost_is_given_again(runtime: str, command: str, phone: FakePhone, tmp_path: Path) -> None:
    phone.install("onnxruntime_perf_test")
    path = tmp_path / f"a{model_suffix(runtime)}"
    phone.cut_after = command
    with open_runtime(f"{runtime}:adb:{SERIAL}").load(
        write_model(path) if runtime == "onnxruntime" else write_phone_model(path)
    ) as session:
        session.run_many(5, warm_up_ms=1)  # type: ignore[attr-defined]
    assert phone.cut_after == ""
    assert not list((phone.tmp / "natdeploy").iterdir())


def test_a_cable_that_comes_back_costs_nothing(phone: FakePhone, tmp_path: Path, quick: Settings) -> None:
    """Pulled 20 times at random moments."""
    models = tuple(ModelFile(name, write_phone_model(tmp_path / f"{name}.tflite", size)) for size, name in enumerate("abcd"))
    job = Job("litert", models, settings=replace(quick, half_width=1e-9, cap_s=0.2), group_size=2)
    results, is_over, rng = tmp_path / "r.jsonl", threading.Event(), random.Random(5)
    num_cuts = 0

    def pull() -> None:
        nonlocal num_cuts
        while num_cuts < 20 and not is_over.wait(rng.uniform(0.0, 0.12)):
            phone.unplug()
            time.sleep(rng.uniform(0.0, 0.05))
            phone.plug_in()
            num_cuts += 1

    puller = threading.Thread(target=pull)
    events: list[dict[str, Any]] = []

    def begin(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "progress" and not puller.is_alive() and num_cuts == 0:
            puller.start()

    rows = AdbTransport(SERIAL).run_job(job, results, on_event=begin)
    is_over.set()
    puller.join()
    assert num_cuts == 20, "the job was over too soon: make it longer"
    assert [row.id for row in rows] == list("abcd")
    assert sorted(row.id for row in read_results(results).measurements) == list("abcd")
    assert not [event for event in events if event["event"] == "failed"]


def test_a_cable_that_stays_away_ends_the_job_and_keeps_its_rows(
    phone: FakePhone, impatient: PhoneRuntime, tmp_path: Path, quick: Settings
) -> None:
    models = tuple(ModelFile(n, write_phone_model(tmp_path / f"{n}.tflite"), "0" * 64) for n in "ab")
    events: list[dict[str, Any]] = []

    def pull(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "measurement":
            phone.unplug()

    job = Job("litert", models, settings=quick)
    with pytest.raises(TransportError, match=r"was away for 0.3 s.*finished measurements are kept"):
        measure_group(job, ["a", "b"], impatient, pull)
    assert [event["event"] for event in events if event["event"] in ("measurement", "failed")] == ["measurement"]


def test_a_program_that_was_killed_is_run_again(phone: FakePhone, tmp_path: Path) -> None:
    with open_runtime(f"litert:adb:{SERIAL}").load(write_phone_model(tmp_path / "a.tflite")) as session:
        phone.kill_next = True
        session.run()
        phone._write("data/local/tmp/benchmark_model", "#!/bin/sh\nkill -9 $$\n", executable=True)
        with pytest.raises(RuntimeFailedError, match="signal 9"):
            session.run()


def test_what_breaks_on_the_wire_is_a_sentence(phone: FakePhone, impatient: PhoneRuntime) -> None:
    impatient.version()
    phone.on_command = lambda command: phone.unplug()
    with pytest.raises(TransportError, match=r"must stay connected"):
        impatient.facts()
