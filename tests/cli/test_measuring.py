"""Benchmarks side by side and checks of devices, as a user runs them."""

import json
from pathlib import Path

import pytest

from tests.cli.run import natdeploy
from tests.profilers.small_models import write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "a.onnx")
    write_model(tmp_path / "b.onnx", repeats=200)
    return tmp_path


def test_several_files_are_compared_with_the_first(folder: Path) -> None:
    done = natdeploy("benchmark", "a.onnx", "b.onnx", "a.onnx", "--fast", "--json", cwd=folder)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert [model["model"] for model in document["models"]] == ["a.onnx", "b.onnx", "a.onnx"]
    other, same = document["comparisons"]
    assert (other["first"], other["second"], other["verdict"]) == ("b.onnx", "a.onnx", "slower")
    assert other["low"] > 2
    assert (same["first"], same["second"]) == ("a.onnx", "a.onnx")
    assert same["low"] <= same["ratio"] <= same["high"]


def test_the_verdict_is_a_sentence(folder: Path) -> None:
    done = natdeploy("benchmark", "b.onnx", "a.onnx", "--fast", cwd=folder)
    assert done.code == 0, done.err
    assert "a.onnx against b.onnx: " in done.out
    assert "% faster" in done.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (0.5, "50.0 % faster (45.0 to 55.0 % less time)"),
        (1.5, "50.0 % slower (35.0 to 65.0 % more time)"),
        (100.0, "takes 100.0 times"),
    ],
)
def test_verdicts_read_well_near_and_far(ratio: float, said: str) -> None:
    from nat_deploy.cli.benchmark import _sentence
    from profilers import Comparison

    compared = Comparison(first="1", second="0", ratio=ratio, low=0.9 * ratio, high=1.1 * ratio, num_passes=30)
    assert said in _sentence(Path("b.onnx"), Path("a.onnx"), compared)


def test_a_benchmark_that_waits_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    from nat_deploy.cli._output import tell_of_waiting

    tell_of_waiting({"event": "measured", "id": "0"})
    tell_of_waiting({"event": "waiting", "message": "another profiler is measuring on 'cpu'"})
    assert capsys.readouterr().err == "another profiler is measuring on 'cpu'\n"


def test_fast_and_precise_exclude_each_other(folder: Path) -> None:
    done = natdeploy("benchmark", "a.onnx", "--fast", "--precise", cwd=folder)
    assert done.code == 2
    assert "--fast or --precise" in done.sentence
    assert "none.onnx" in natdeploy("benchmark", "a.onnx", "none.onnx", cwd=folder).sentence


def test_a_check_tells_how_noisy_a_device_is(tmp_path: Path) -> None:
    done = natdeploy("devices", "check", "cpu", "--seconds", "0.5", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["is_ready"]
    assert document["missing"] == []
    assert document["noise"]["verdict"] in ("quiet", "usable", "noisy")
    assert document["facts"]["num_cores"] > 0


def test_a_check_names_everything_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text('[devices.odd]\nruntime = "warpspeed"\nthreads = 1000\naffinity = [0, 9999]\n')
    done = natdeploy("devices", "check", "odd", "--seconds", "0.5", cwd=tmp_path)
    assert done.code == 1
    missing = [line for line in done.out.splitlines() if line.startswith("missing: ")]
    assert len(missing) == 4
    for word in ("warpspeed", "threads", "9999", "each of 1000 threads"):
        assert any(word in line for line in missing)
    assert "round medians vary" in done.out


def test_throughput_is_told_at_every_batch_size_and_number_of_threads(folder: Path) -> None:
    done = natdeploy("benchmark", "a.onnx", "--batch", "4,1,4", "--threads", "1,2", "--fast", "--json", cwd=folder)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    rows = document["throughputs"]
    assert [(row["batch_size"], row["threads"]) for row in rows] == [(4, 1), (4, 2), (1, 1), (1, 2)]
    assert document["target"].endswith(".t1.b4")
    assert rows[0]["images_per_second"] == document["images_per_second"] == pytest.approx(4000 / document["median_ms"])
    assert all(row["low"] <= row["images_per_second"] <= row["high"] for row in rows)
    assert document["peak_memory_bytes"] > 0


@pytest.mark.parametrize("text", ["0", "", "1,", "-1", "two", "1e3", "100000"])
def test_batch_sizes_that_are_none_are_refused(text: str, folder: Path) -> None:
    from nat_deploy.cli._options import parse_counts
    from nat_deploy.errors import InputError

    with pytest.raises(InputError, match="--batch must be whole numbers of 1 to 99999"):
        parse_counts("--batch", text)
