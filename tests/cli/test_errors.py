"""Every mistake gets one sentence, the exit code of the design, and no traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nat_deploy.cli import app
from tests.cli.run import natdeploy

SUBNET = {
    "format": 1,
    "space": "ofa-mbv3-w0.35",
    "resolution": 48,
    "num_classes": 10,
    "depth": [2, 2, 2, 2, 2],
    "kernel": [3] * 10,
    "expand": [3] * 10,
}


@pytest.fixture
def subnet(tmp_path: Path) -> Path:
    path = tmp_path / "subnet.json"
    path.write_text(json.dumps(SUBNET))
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["profile", "--device", "jetson"], "[devices.jetson] host ="),
        (["export", "subnet.json", "--format", "trt"], "tensorrt"),
        (["export", "subnet.json", "--format", "flac"], "format must be one of onnx"),
        (["export", "subnet.json"], "--weights"),
        (["describe", "none.json"], "must exist"),
        (["describe", "subnet.json", "--device", "toaster"], "toaster"),
        (["describe", "subnet.json", "--device", "cpu"], "natdeploy profile"),
        (["search"], "--latency-budget 20ms"),
        (["search", "--latency-budget", "20parsec"], "parsec"),
        (["search", "--latency-budget", "20ms", "--workers", "0"], "--workers must be at least 1 and at most"),
        (["search", "--latency-budget", "20ms", "--workers", "-2"], "but it is -2; choose a number between"),
        (["search", "--latency-budget", "20ms", "--workers", "5000"], "the number of CPU cores, but it is 5000"),
        (["search", "--latency-budget", "20ms", "--cluster", "local"], "add for example --workers 8"),
        (["search", "--latency-budget", "20ms", "--effort", "heroic"], "heroic"),
        (["search", "--latency-budget", "20ms", "--data", "nowhere/"], "nowhere"),
        (["search", "--latency-budget", "20ms", "--resolutions", "tall"], "tall"),
        (["profile", "--until", "2%"], "--until must be a mean error above 0 %, but it is '2%'; write for example mape=2%"),
        (["profile", "--fast", "--precise"], "either --fast or --precise"),
        (["profile", "--precision", "int4"], "precision must be one of fp32, fp16, int8, but it is 'int4'"),
        (["search", "--latency-budget", "20ms", "--supernet", "none.safetensors"], "none.safetensors"),
        (["search", "--resume", "no-run"], "no-run"),
        (["benchmark", "none.onnx"], "natdeploy export"),
        (["report", "no-run"], "no-run"),
        (["import-weights", "none.pth", "--space", "ofa-mbv3-w1.0", "--out", "s.safetensors"], "none.pth"),
        (["import-weights", "none.pth", "--space", "ofa-mbv9", "--out", "s.safetensors"], "ofa-mbv9"),
        (["profile", "--minutes", "-1"], "minutes"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(
    arguments: list[str],
    words: str,
    subnet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(SystemExit) as exited:
        app.main(arguments)
    told = capsys.readouterr()
    assert exited.value.code == 2
    assert told.out == ""
    *before, last = told.err.strip().splitlines()
    assert last.startswith("natdeploy: ")
    assert words in last
    assert not [line for line in before if "--resume" in line], "nothing has begun"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_broken_subnet_file_never_gives_a_traceback(
    data: st.DataObject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = dict(SUBNET)
    key = data.draw(st.sampled_from(sorted(document)))
    document[key] = data.draw(
        st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(-9, 9), max_size=25) | st.floats()
    )
    text = json.dumps(document)
    path = tmp_path / "broken.json"
    path.write_text(text[: data.draw(st.integers(0, len(text)))])
    with pytest.raises(SystemExit) as exited:
        app.main(["describe", str(path), "--json"])
    told = capsys.readouterr()
    if exited.value.code:
        assert exited.value.code == 2
        assert told.out == ""
        assert told.err.startswith("natdeploy: ")
    else:
        assert json.loads(told.out)["macs"] > 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text(alphabet='[]devics.jt"=0a\n ', max_size=60).map(str.encode))
def test_a_broken_devices_file_never_gives_a_traceback(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "devices.toml").write_bytes(content)
    with pytest.raises(SystemExit) as exited:
        app.main(["devices", "--json"])
    assert exited.value.code in (0, 2)
    told = capsys.readouterr()
    assert (told.out == "") == bool(exited.value.code)


def test_describe_agrees_with_the_published_counts(shared_data: Path, tmp_path: Path) -> None:
    found = natdeploy("describe", shared_data / "nat_subnets" / "imagenet_NAT-M1.json", "--json", cwd=tmp_path)
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert (round(document["macs"] / 1e6, 1), round(document["num_params"] / 1e6, 2)) == (222.6, 6.07)
    assert document["peak_activation_bytes"] > 0


def test_help_needs_no_heavy_package(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from nat_deploy.cli.app import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'onnx', 'pymoo', 'sklearn', 'onnxruntime') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "quickstart" in done.stdout
    assert done.stderr.strip() == "[]"
