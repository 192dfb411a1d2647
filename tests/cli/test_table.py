"""`natdeploy table` as a user runs it."""

import json
from pathlib import Path

import pytest

from nat_deploy.cli import app
from tests.tables.small_kit import SPACE, fill_in, measure, true_ms
from tests.tables.test_once_for_all import write


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    return tmp_path


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> "Runner":
    return Runner(capsys)


class Runner:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path, code: int = 0) -> str:
        """What a command printed, or the sentence of its error."""
        with pytest.raises(SystemExit) as exited:
            app.main([str(argument) for argument in arguments])
        told = self._capsys.readouterr()
        assert exited.value.code == code, told.err
        return told.out if told.out else told.err.strip().splitlines()[-1]


def test_published_tables_predict_on_a_phone(run: Runner, home: Path) -> None:
    files = [write(home / f"{size}.yaml", resolution=size) for size in (64, 96)]
    imported = json.loads(run("table", "import", *files, "--device", "phone", "--json"))
    key = "phone.tflite-unknown.fp32.t1.b1"
    assert imported["target"] == key
    assert Path(imported["table"]) == home / "natdeploy" / "latency_tables" / key / "ofa-mbv3-w0.5.json"
    (home / "devices.toml").write_text(f'[devices.phone]\ntransport = "table"\ntarget = "{key}"\n')

    shown = run("table", "show", "phone")
    for words in (
        key,
        "smallest",
        "largest",
        "nobody has checked",
        "dearest blocks",
        "warning: published",
        "doubt: whole networks measured: 0",
    ):
        assert words in shown
    document = json.loads(run("table", "show", "phone", "--json"))
    assert document == imported
    assert document["card"]["rows"][0]["scores"]["mape"] < 0.05
    assert document["predicted"]["smallest_ms"][1] < document["predicted"]["largest_ms"][1]

    subnet = {"format": 1, "space": "ofa-mbv3-w0.5", "resolution": 80, "num_classes": 10}
    (home / "subnet.json").write_text(json.dumps(subnet | {"depth": [2] * 5, "kernel": [3] * 10, "expand": [4] * 10}))
    latency = json.loads(run("describe", "subnet.json", "--device", "phone", "--json"))["latency"]
    assert latency["low_ms"] < latency["value_ms"] < latency["high_ms"]
    assert (latency["target"], latency["is_outside"]) == (key, False)


def test_a_kit_goes_out_and_comes_back(run: Runner, home: Path) -> None:
    arguments = ("--space", SPACE.name, "--resolutions", "32,48,64", "--classes", "10", "--networks", "6", "--blocks", "20")
    written = json.loads(run("table", "export", "--kit", "kit", *arguments, "--json"))
    assert len(written["graphs"]) == 27
    results = measure(home / "kit", home / "results.jsonl")
    whole = results.read_bytes().split(b"\n")
    results.write_bytes(b"\n".join(whole[:3]) + b"\n")
    first = json.loads(run("table", "import", "--kit", "kit", "--results", "results.jsonl", "--json"))
    assert (first["networks"], first["blocks"], first["card"]) == (3, 0, None)
    results.write_bytes(b"\n".join(whole))
    second = json.loads(run("table", "import", "--kit", "kit", "--results", "results.jsonl", "--json"))
    assert (second["table"], second["networks"], second["blocks"], second["overheads"]) == (first["table"], 6, 20, 1)

    assert run("table", "export", second["table"], "--csv", "out.csv").strip() == "out.csv: 27 rows"
    assert len((home / "out.csv").read_text().splitlines()) == 1 + 27

    answer = run("table", "check", second["table"])
    assert answer.startswith(f"{second['table']}: sound; 6 networks, 20 blocks")


def test_numbers_of_another_tool_come_back(run: Runner, home: Path) -> None:
    from nat_deploy.tables import load_manifest

    run("table", "export", "--kit", "kit", "--space", SPACE.name, "--resolutions", "32", "--networks", "1", "--blocks", "12")
    fill_in(home / "results.csv", true_ms(home / "kit", load_manifest(home / "kit")))
    told = ("--device", "Pixel 8", "--runtime", "LiteRT", "--runtime-version", "2.1")
    text = run("table", "import", "--kit", "kit", "--results", "results.csv", *told)
    assert 'target = "pixel-8.litert-2.1.fp32.t1.b1"' in text
    assert "14 single figures" in text


def test_a_broken_table_is_named_and_fails(run: Runner, home: Path) -> None:
    sound = json.loads(run("table", "import", write(home / "64.yaml"), "--json"))["table"]
    broken = home / "broken.json"
    broken.write_text(Path(sound).read_text()[:-100])
    text = run("table", "check", sound, broken, code=1)
    assert f"{sound}: sound;" in text
    assert f"{broken}: broken; file '{broken}' must hold one JSON document" in text
    document = json.loads(run("table", "check", broken, sound, "none.json", "--json", code=1))
    assert [table["sound"] for table in document["tables"]] == [False, True, False]
    run("table", "check", sound)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["table", "show", "toaster"], "toaster"),
        (["table", "show", "none.json"], "must exist"),
        (["table", "import"], "either YAML files or --kit"),
        (["table", "import", "none.yaml"], "must exist"),
        (["table", "import", "none.yaml", "--kit", "kit"], "either YAML files or --kit"),
        (["table", "import", "--kit", "kit"], "either YAML files or --kit"),
        (["table", "import", "--kit", "kit", "--results", "r.csv"], "manifest.json"),
        (["table", "import", "none.yaml", "--precision", "fp8"], "precision must be one of"),
        (["table", "export"], "either TABLE --csv FILE or --kit FOLDER"),
        (["table", "export", "a.json"], "either TABLE --csv FILE or --kit FOLDER"),
        (["table", "export", "a.json", "--kit", "kit"], "either TABLE --csv FILE or --kit FOLDER"),
        (["table", "export", "none.json", "--csv", "out.csv"], "must exist"),
        (["table", "export", "--kit", "kit", "--networks", "0", "--blocks", "0"], "must hold 1 to 1000"),
        (["table", "export", "--kit", "kit", "--space", "resnet"], "resnet"),
        (["table", "export", "--kit", "kit", "--classes", "1"], "num_classes"),
        (["table", "export", "--kit", "/proc/none/kit", "--networks", "1"], "/proc/none/kit"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(run: Runner, arguments: list[str], words: str) -> None:
    sentence = run(*arguments, code=2)
    assert sentence.startswith("natdeploy: ")
    assert words in sentence
