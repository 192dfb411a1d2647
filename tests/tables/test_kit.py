"""A kit that is written: all in one folder, nothing chosen twice, every file the one that the manifest names."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from nat_deploy.errors import FileFormatError, InputError, MissingError
from nat_deploy.predictors.latency import BlockIndex
from nat_deploy.predictors.latency.block_features import layer_types
from nat_deploy.spaces import Architecture, Block
from nat_deploy.tables import Kit, kit_device, load_manifest, read_profiled_results, write_kit
from nat_deploy.tables.kit import choose_blocks, choose_networks
from nat_deploy.tables.kit_manifest import manifest_json
from profilers.job import Job, load_job, save_job
from profilers.runtimes.base import file_sha256
from profilers.settings import Settings
from tests.tables.small_kit import SPACE, make_kit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kits") / "kit"
    make_kit(folder)
    return folder


@pytest.fixture(scope="module")
def kit(folder: Path) -> Kit:
    return load_manifest(folder)


def test_every_file_is_the_one_of_the_manifest(folder: Path, kit: Kit) -> None:
    assert [graph.id for graph in kit.graphs[:2]] == ["network-000", "network-001"]
    assert len(kit.graphs) == 6 + 12 + 1
    assert sorted(path.name for path in (folder / "models").iterdir()) == sorted(graph.file[7:] for graph in kit.graphs)
    for graph in kit.graphs:
        assert file_sha256(folder / graph.file) == graph.sha256


def test_graphs_compute_what_the_manifest_says(folder: Path, kit: Kit) -> None:
    for graph in kit.graphs:
        session = onnxruntime.InferenceSession(folder / graph.file, providers=["CPUExecutionProvider"])
        match graph.subject:
            case Architecture() as architecture:
                assert session.get_inputs()[0].shape == [1, 3, architecture.resolution, architecture.resolution]
                assert session.get_outputs()[0].shape == [1, 10]
            case Block() as block:
                assert session.get_inputs()[0].shape[1] == block.in_channels
                assert session.get_outputs()[0].shape[1] == block.out_channels
            case None:
                assert [node.op_type for node in onnx.load(folder / graph.file).graph.node] == ["Identity"]


def test_both_extremes_are_measured(kit: Kit) -> None:
    assert [graph.subject for graph in kit.graphs[:2]] == [SPACE.smallest(), SPACE.largest()]


def test_the_form_has_a_line_for_each_graph(folder: Path, kit: Kit) -> None:
    assert (folder / "results.csv").read_text() == "id,ms\n" + "".join(f"{graph.id},\n" for graph in kit.graphs)


def test_the_job_names_the_same_files(folder: Path, kit: Kit) -> None:
    written = json.loads((folder / "job.json").read_text())
    assert [(model["id"], model["path"], model["sha256"]) for model in written["models"]] == [
        (graph.id, graph.file, graph.sha256) for graph in kit.graphs
    ]
    assert load_job(folder / "job.json").reference == "network-000"


def test_instructions_name_what_is_there(folder: Path) -> None:
    text = (folder / "INSTRUCTIONS.md").read_text()
    assert "python3 -m profilers measure job.json --results results.jsonl" in text
    for name in ("results.csv", "manifest.json", "models", "profilers", "job.json"):
        assert (folder / name).exists()
        assert name in text
    assert "{" not in text


def test_the_same_seed_gives_the_same_files(folder: Path, kit: Kit, tmp_path: Path) -> None:
    again = make_kit(tmp_path / "again")
    assert again.graphs == kit.graphs
    assert make_kit(tmp_path / "other", seed=1).graphs[2:6] != kit.graphs[2:6]


@pytest.mark.parametrize(("runtime", "precision"), [("onnxruntime", "fp16"), ("onnxruntime", "int8"), ("tensorrt", "int8")])
def test_files_compute_in_the_precision_of_the_kit(tmp_path: Path, runtime: str, precision: str) -> None:
    device = kit_device(runtime=runtime, precision=precision, threads=4, batch_size=2)
    kit = write_kit(tmp_path / "kit", SPACE, device, num_networks=1, num_blocks=0)
    assert load_manifest(tmp_path / "kit") == kit
    job = load_job(tmp_path / "kit" / "job.json")
    assert (job.runtime, job.precision, job.threads, job.batch_size) == (runtime, precision, 4, 2)
    operators = {node.op_type for node in onnx.load(tmp_path / "kit" / kit.graphs[0].file).graph.node}
    assert ("QuantizeLinear" if precision == "int8" else "Cast") in operators
    text = (tmp_path / "kit" / "INSTRUCTIONS.md").read_text()
    assert f"Every file computes in **{precision}**" in text
    assert f"the package `{runtime}`" in text


def test_chosen_networks_are_different() -> None:
    networks = choose_networks(SPACE, 40, np.random.default_rng(0))
    assert len(set(networks)) == len(networks) == 40
    assert choose_networks(SPACE, 1, np.random.default_rng(0)) == (SPACE.smallest(),)
    assert choose_networks(SPACE, 0, np.random.default_rng(0)) == ()


def test_chosen_blocks_are_of_all_layer_types_first() -> None:
    index = BlockIndex(SPACE)
    types = dict(zip(index.blocks, layer_types(index.blocks), strict=True))
    num_types = len(set(types.values()))
    blocks = choose_blocks(index, num_types + 5, np.random.default_rng(0))
    assert len(set(blocks)) == len(blocks) == num_types + 5
    assert len({types[block] for block in blocks[:num_types]}) == num_types
    assert set(choose_blocks(index, 10**6, np.random.default_rng(0))) == set(index.blocks)


@pytest.mark.parametrize(("num_networks", "num_blocks"), [(0, 0), (-1, 5), (1000, 1)])
def test_a_kit_of_nothing_or_too_much_is_refused(tmp_path: Path, num_networks: int, num_blocks: int) -> None:
    with pytest.raises(InputError, match="must hold 1 to 1000 networks and blocks"):
        make_kit(tmp_path / "kit", num_networks=num_networks, num_blocks=num_blocks)
    assert not (tmp_path / "kit").exists()


def test_a_folder_with_something_in_it_is_left_alone(folder: Path) -> None:
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(InputError, match="must be new or empty"):
        make_kit(folder, seed=9)
    assert (folder / "manifest.json").read_bytes() == before


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="precision must be one of fp32, fp16, int8, but it is 'fp8'"):
        kit_device(runtime="onnxruntime", precision="fp8", threads=1, batch_size=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "must have format 1, but it has 2"),
        ({"unit": "us"}, "'unit'"),
        ({"space": "resnet"}, "space must be one of"),
        ({"precision": "fp8"}, "'precision'"),
        ({"graphs": []}, "'graphs'"),
        ({"more": 1}, "'more'"),
    ],
)
def test_a_wrong_manifest_is_refused(folder: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(document | change))
    with pytest.raises(FileFormatError, match=message):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../../etc/passwd"}, "must lie inside it"),
        ({"file": "/etc/passwd"}, "must lie inside it"),
        ({"id": "network-001"}, "must have different ids"),
        ({"sha256": "0"}, "sha256"),
        ({"block": {}}, "block"),
        (
            {"architecture": {"resolution": 33, "depth": [2] * 5, "kernel": [3] * 9, "expand": [3] * 10}},
            "kernel must have 10 values",
        ),
    ],
)
def test_a_wrong_graph_is_refused(folder: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    document["graphs"][0] |= change
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match=message):
        load_manifest(tmp_path)


def test_a_manifest_cut_at_any_byte_is_refused(kit: Kit, tmp_path: Path) -> None:
    text = manifest_json(replace(kit, graphs=kit.graphs[-2:])).rstrip().encode()
    for end in range(len(text)):
        (tmp_path / "manifest.json").write_bytes(text[:end])
        with pytest.raises(FileFormatError):
            load_manifest(tmp_path)


def test_a_folder_that_is_no_kit_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"manifest\.json"):
        load_manifest(tmp_path)


def test_a_kit_is_measured_by_what_it_carries(tmp_path: Path) -> None:
    """Copied away, with nothing of ours on the path."""
    kit = make_kit(tmp_path / "kit", num_networks=1, num_blocks=1)
    (tmp_path / "away").mkdir()
    away = (tmp_path / "kit").rename(tmp_path / "away" / "kit")
    job = load_job(away / "job.json")
    quick = Settings(half_width=0.5, round_ms=1.0, cap_s=0.2, warm_up_ms=2.0, warm_up_cap_s=0.1)
    save_job(Job(runtime=job.runtime, models=job.models, settings=quick), away / "job.json")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["TMPDIR"] = str(tmp_path)  # a lock of its own: the test does not wait for others that measure
    program = "import profilers; print(profilers.__file__)"
    where = subprocess.run([sys.executable, "-c", program], cwd=away, env=environment, capture_output=True, text=True, check=True)
    assert Path(where.stdout.strip()).parent == away / "profilers"
    command = [sys.executable, "-m", "profilers", "measure", "job.json", "--results", "results.jsonl"]
    done = subprocess.run(command, cwd=away, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = read_profiled_results(kit, away / "results.jsonl")
    assert (len(found.table.networks), len(found.table.blocks), len(found.table.overheads)) == (1, 1, 1)
    assert found.table.facts is not None
