"""The whole walk on photographs, small enough for a test: every file it leaves is opened and held against the others."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from nat_deploy.data import batches, load_data
from nat_deploy.spaces.subnet_file import load_subnet
from nat_deploy.supernets import load_subnet_weights
from tests.cli.run import natdeploy


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, flowers_dir: Path) -> Path:
    """A finished search, and the table it used, in a fresh directory."""
    folder = tmp_path_factory.mktemp("walk")
    profiled = natdeploy(
        "profile",
        "--networks",
        "16",
        "--minutes",
        "1",
        "--resolutions",
        "32-48",
        "--out",
        folder / ".data/natdeploy/latency_tables",
        cwd=folder,
    )
    assert profiled.code == 0, profiled.err
    found = natdeploy(
        *("search", "--latency-budget", "50ms", "--data", f"{flowers_dir}/", "--effort", "quick", "--iterations", "1"),
        *(
            "--first-epochs",
            "2",
            "--further-epochs",
            "0.5",
            "--resolutions",
            "32-48",
            "--finalists",
            "2",
            "--out",
            "run",
            "--json",
        ),
        cwd=folder,
    )
    assert found.code == 0, found.err
    (folder / "answer.json").write_text(found.out)
    return folder


def test_search_returns_measured_networks_within_the_budget(walk: Path) -> None:
    answer = json.loads((walk / "answer.json").read_text())
    assert 1 <= len(answer["finalists"]) <= 2
    for finalist in answer["finalists"]:
        for record in finalist["latencies"]:
            assert 0 < record["low_ms"] <= record["median_ms"] <= record["high_ms"] <= 50
    subnet = load_subnet(walk / "run" / "subnet.json")
    measured = {value.name: value for value in subnet.objectives}
    assert measured["latency_ms"].source == "measured"
    assert measured["latency_ms"].value == answer["finalists"][0]["latencies"][0]["median_ms"]
    assert measured["macs"].value == subnet.space.count(subnet.space.encode(subnet.architecture)[None]).macs[0]


def test_the_returned_weights_score_what_the_answer_says(walk: Path, flowers_dir: Path) -> None:
    answer = json.loads((walk / "answer.json").read_text())
    subnet = load_subnet(walk / "run" / "subnet.json")
    assert subnet.weights is not None
    network = load_subnet_weights(subnet.space.blocks(subnet.architecture), subnet.weights)
    data = load_data(flowers_dir, image_size=48, seed=0, cache_dir=walk / "cache")
    assert data.test is not None
    with torch.no_grad():
        right = sum(
            int((network(images).argmax(1) == labels).sum())
            for images, labels in batches(data.test, batch_size=50, resolution=subnet.architecture.resolution)
        )
    assert 100 * right / len(data.test) == pytest.approx(answer["test_top1_percent"], abs=1.01)  # one image of 100
    assert answer["test_top1_percent"] > 25, "five classes: guessing gives 20"


def test_the_exported_file_computes_what_the_network_computes(walk: Path) -> None:
    exported = natdeploy("export", "run/subnet.json", "--format", "onnx", "--json", cwd=walk)
    assert exported.code == 0, exported.err
    subnet = load_subnet(walk / "run" / "subnet.json")
    assert subnet.weights is not None
    network = load_subnet_weights(subnet.space.blocks(subnet.architecture), subnet.weights)
    size = subnet.architecture.resolution
    images = np.random.default_rng(0).standard_normal((5, 3, size, size)).astype(np.float32)
    session = onnxruntime.InferenceSession(walk / "run" / "subnet.onnx", providers=["CPUExecutionProvider"])
    logits = session.run(None, {session.get_inputs()[0].name: images})[0]
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    assert expected.std() > 0.1
    assert np.linalg.norm(logits - expected) < 1e-4 * np.linalg.norm(expected)
    benchmark = natdeploy("benchmark", "run/subnet.onnx", "--fast", "--json", cwd=walk)
    assert benchmark.code == 0, benchmark.err
    document = json.loads(benchmark.out)
    assert document["low_ms"] <= document["median_ms"] <= document["high_ms"]
    assert document["predicted"]["target"] == document["target"]


def test_a_found_network_is_fine_tuned_with_what_its_folder_knows(walk: Path) -> None:
    """No data, no supernet and no seed are given: they are those of the search, and the test images stay the same."""
    tuned = natdeploy("finetune", "run/finalists/1/subnet.json", "--epochs", "1", "--out", "tuned", "--json", cwd=walk)
    assert tuned.code == 0, tuned.err
    document = json.loads(tuned.out)
    answer = json.loads((walk / "answer.json").read_text())
    assert Path(document["teacher"]).name == "run"
    assert document["validation_top1_percent"]["before"] == pytest.approx(answer["validation_top1_percent"])
    assert document["test_top1_percent"]["before"] == pytest.approx(answer["test_top1_percent"])
    assert load_subnet(walk / "tuned" / "subnet.json").architecture == load_subnet(walk / "run" / "subnet.json").architecture


def test_describe_predicts_and_report_shows(walk: Path) -> None:
    described = natdeploy("describe", "run/subnet.json", "--device", "cpu", "--json", cwd=walk)
    assert described.code == 0, described.err
    latency = json.loads(described.out)["latency"]
    assert latency["low_ms"] <= latency["value_ms"] <= latency["high_ms"]
    reported = natdeploy("report", "run", cwd=walk)
    assert reported.code == 0, reported.err
    page = (walk / "run" / "report.html").read_text()
    assert "ofa-mbv3-w0.5" in page


def test_a_finished_run_resumes_to_the_same_answer(walk: Path) -> None:
    again = natdeploy("search", "--resume", "run", "--json", cwd=walk)
    assert again.code == 0, again.err
    assert json.loads(again.out) == json.loads((walk / "answer.json").read_text())


def test_an_impossible_budget_names_the_smallest_reachable_latency(walk: Path, flowers_dir: Path) -> None:
    refused = natdeploy(
        *(
            "search",
            "--latency-budget",
            "0.001ms",
            "--data",
            f"{flowers_dir}/",
            "--effort",
            "quick",
            "--resolutions",
            "32-48",
            "--out",
            "none",
        ),
        cwd=walk,
    )
    assert refused.code == 1
    assert "latency_ms <= 0.001" in refused.sentence
    assert "ms" in refused.sentence.partition("smallest")[2]
