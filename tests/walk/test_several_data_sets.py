"""One architecture for two sets of real images: the command, what it leaves, and what the other commands make of that."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from nat_deploy.cli import app
from nat_deploy.report import read_run
from nat_deploy.search import RunFolder
from nat_deploy.spaces.subnet_file import load_subnet

from .tiny_search import PARALLEL, SEARCH, contents, finish, kill_when

SEARCH_BOTH = (
    *SEARCH,
    *("--iterations", "0", "--data", "three", "--objective", "macs", "--objective", "memory", "--json", "--out", "run"),
    *("--prefer", "error@three=2,error@digits=1,latency=1,memory=1"),
)


def make_home(home: Path) -> None:
    """A folder of images of three digits lies in it."""
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if label < 3 and number < 400:
            folder = home / "three" / f"digit {label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.round(image * 15.9).astype(np.uint8)).resize((32, 32)).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the search was left in peace."""
    home = tmp_path_factory.mktemp("undisturbed")
    make_home(home)
    finish(home, *SEARCH_BOTH)
    return home


@pytest.fixture(scope="module")
def answer(home: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads((home / "told.txt").read_text().splitlines()[-1])
    return document


def test_the_answer_has_an_accuracy_and_a_subnet_for_each(home: Path, answer: dict[str, object]) -> None:
    result = RunFolder.read(home / "run").read_result()
    assert result is not None
    chosen = result.finalists[0]
    digits, three = answer["data_sets"]  # type: ignore[misc]
    assert (digits["name"], three["name"]) == ("digits", "three")
    assert [100 - digits["validation_top1_percent"], 100 - three["validation_top1_percent"]] == pytest.approx(
        chosen.errors_percent
    )
    assert answer["validation_top1_percent"] == pytest.approx(100 - np.mean(chosen.errors_percent))
    assert answer["test_top1_percent"] == pytest.approx((digits["test_top1_percent"] + three["test_top1_percent"]) / 2)
    of_digits, of_three = (load_subnet(home / data["subnet"]) for data in (digits, three))
    assert of_digits.architecture == of_three.architecture
    assert (of_digits.num_classes, of_three.num_classes) == (10, 3)
    for subnet, error in zip((of_digits, of_three), chosen.errors_percent, strict=True):
        values = {value.name: value.value for value in subnet.objectives}
        assert values["error_percent"] == error
        assert values["num_params"] == subnet.space.count(np.array([chosen.genes])).num_params[0]
    assert of_digits.provenance == {}
    assert "a classifier of 10 classes" in of_three.provenance["latency_ms"]
    assert {path.parent.relative_to(home / "run").as_posix() for path in (home / "run").rglob("subnet.json")} == {
        f"{place}/{data}" for place in ("chosen", "finalists/1", "finalists/2") for data in ("digits", "three")
    }


def test_killed_between_two_adaptations_and_amid_evaluation_it_gives_the_same_run(home: Path, tmp_path: Path) -> None:
    make_home(tmp_path)
    run = tmp_path / "run"

    def second_adaptation() -> bool:
        return "adapting the supernet, 2" in (tmp_path / "told.txt").read_text()

    assert kill_when(tmp_path, second_adaptation, *SEARCH_BOTH)
    assert [path.name for path in sorted((run / "checkpoints").rglob("0*"))] == ["001"]
    assert not (run / "archive.jsonl").exists()

    def evaluating() -> bool:
        return (run / "archive.jsonl").exists() and (run / "archive.jsonl").read_bytes().count(b"\n") >= 2

    assert kill_when(tmp_path, evaluating, "search", "--resume", "run", *PARALLEL)
    assert not re.search("adapting the supernet, 2", (tmp_path / "told.txt").read_text()), "the first is not adapted again"
    time.sleep(0.5)  # until its workers have seen that nobody asks any more
    finish(tmp_path, "search", "--resume", "run")
    assert contents(run) == contents(home / "run")


def test_the_report_tells_them_apart(home: Path) -> None:
    run = read_run(home / "run")
    assert run.accuracy_names == ("Mean top-1 accuracy", "Top-1 accuracy on digits", "Top-1 accuracy on three")
    assert [test.data for test in run.tests] == ["digits", "three"]
    assert {file.name for file in run.files} == {
        f"chosen/{data}/subnet.{suffix}" for data in ("digits", "three") for suffix in ("json", "safetensors")
    }
    assert run.command is not None
    assert "--data digits --data three" in run.command
    assert "--objective macs --objective memory" in run.command
    finish(home, "report", "run", "--format", "markdown", "--out", "report.md")
    text = (home / "report.md").read_text()
    for name in run.accuracy_names:
        assert f"| {name} |" in text
    finish(home, "report", "run", "--out", "report.html")
    measures = json.loads(re.search(r'id="data">(.*?)</script>', (home / "report.html").read_text())[1])["measures"]  # type: ignore[index]
    assert [measure["name"] for measure in measures[:3]] == list(run.accuracy_names)


def test_a_subnet_of_each_is_exported_and_fine_tuned_on_its_own_data(home: Path) -> None:
    finish(home, "export", "run/chosen/three/subnet.json", "--out", "three.onnx")
    assert json.loads((home / "three.onnx.json").read_text())["class_names"] == ["digit 0", "digit 1", "digit 2"]
    finish(home, "finetune", "run/finalists/2/three/subnet.json", "--epochs", "1", "--out", "tuned", "--json")
    tuned = json.loads((home / "told.txt").read_text().splitlines()[-1])
    second = RunFolder.read(home / "run").read_result().finalists[1]  # type: ignore[union-attr]
    assert 100 - tuned["validation_top1_percent"]["before"] == pytest.approx(second.errors_percent[1])
    assert Path(tuned["teacher"]).name == "run"
    assert load_subnet(home / "tuned" / "subnet.json").num_classes == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "digits", "--data", "digits"], "one data set or several different ones, but it has digits, digits"),
        (["--data", "a/photos", "--data", "b/photos/"], "'a/photos' and 'b/photos/' are both called 'photos'"),
        (
            ["--data", "digits", "--data", "photos/", "--prefer", "error@flowers=1"],
            "error_percent@digits, error_percent@photos, latency_ms",
        ),
        (["--data", "digits", "--data", "photos/", "--prefer", "error=1"], "one is of 'error_percent'; choose one of these"),
        (["--objective", "latency"], "must be macs, params or memory, each at most once, but one is 'latency'"),
        (["--objective", "params", "--objective", "num_params"], "each at most once, but one is 'params'"),
    ],
)
def test_what_does_not_go_together_is_told_in_a_sentence(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(SystemExit) as exited:
        app.main(["search", "--latency-budget", "20ms", "--out", "run", *arguments])
    assert exited.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("natdeploy: ")
    assert words in last
    assert not (tmp_path / "run").exists()
