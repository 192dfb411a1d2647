"""Fine-tuning as a user asks for it: what it writes goes on to export, and what cannot work is said in a sentence."""

import json
from pathlib import Path

import pytest
import torch

from nat_deploy.data import load_data
from nat_deploy.errors import InputError, MissingError
from nat_deploy.spaces import OfaMobileNetV3Space
from nat_deploy.spaces.subnet_file import ObjectiveValue, SubnetFile, load_subnet, save_subnet
from nat_deploy.supernets import MBConvSupernet, load_weights, save_supernet
from nat_deploy.training.finetune import FinetuneSettings
from nat_deploy.walk import FinetuneAnswer, finetune_network
from tests.cli.run import natdeploy

SPACE = OfaMobileNetV3Space(0.35, (32,), 10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A subnet without weights, and an untrained supernet for handwritten digits."""
    folder = tmp_path_factory.mktemp("finetune")
    classes = tuple(load_data("digits", image_size=32, seed=0, cache_dir=folder / "cache").class_names)
    supernet = MBConvSupernet(SPACE, torch.Generator().manual_seed(0))
    save_supernet(folder / "supernet.safetensors", supernet, class_names=classes, trained_on="nothing")
    macs = ObjectiveValue(name="macs", value=1e6, source="counted")
    save_subnet(folder / "subnet.json", SubnetFile(architecture=SPACE.smallest(), num_classes=10, objectives=(macs,)))
    return folder


@pytest.fixture(scope="module")
def tuned(folder: Path) -> dict[str, object]:
    """What the command says."""
    done = natdeploy(
        *("finetune", "subnet.json", "--data", "digits", "--supernet", "supernet.safetensors", "--out", "tuned"),
        *("--epochs", "3", "--learning-rate", "0.008", "--json"),
        cwd=folder,
    )
    assert done.code == 0, done.err
    document: dict[str, object] = json.loads(done.out)
    return document


def call(folder: Path, out: Path, *, data: str | None = "digits", rate: float = 1e30, supernet: bool = True) -> FinetuneAnswer:
    return finetune_network(
        folder / "subnet.json",
        out,
        data=data,
        supernet=folder / "supernet.safetensors" if supernet else None,
        settings=FinetuneSettings(epochs=1, learning_rate=rate),
        cache_dir=folder / "cache",
    )


def test_the_command_writes_a_better_subnet_that_exports(tuned: dict[str, object], folder: Path) -> None:
    assert tuned["is_better"]
    validation, test = tuned["validation_top1_percent"], tuned["test_top1_percent"]
    assert isinstance(validation, dict)
    assert isinstance(test, dict)
    assert validation["after"] > validation["before"] + 30
    assert test["after"] > test["before"] + 30
    subnet = load_subnet(folder / "tuned" / "subnet.json")
    assert subnet.architecture == SPACE.smallest()
    errors = {value.name: value.value for value in subnet.objectives}
    assert errors == {"error_percent": pytest.approx(100 - validation["after"]), "macs": 1e6}
    assert "supernet.safetensors" in subnet.provenance["weights"]
    assert ("error_percent" in subnet.provenance) == tuned["trained_on_validation"]
    assert sorted(path.name for path in (folder / "tuned").iterdir()) == ["finetune.json", "subnet.json", "subnet.safetensors"]
    exported = natdeploy("export", "tuned/subnet.json", "--json", cwd=folder)
    assert exported.code == 0, exported.err


def test_what_does_not_help_keeps_the_old_weights(folder: Path, tmp_path: Path) -> None:
    """With a learning rate like this no weight stays finite."""
    answer = call(folder, tmp_path / "same")
    assert answer.result.after is None
    assert not answer.result.is_better
    assert answer.test_before == answer.test_after
    subnet = load_subnet(answer.subnet_file)
    assert "did not make them better" in subnet.provenance["weights"]
    assert subnet.weights is not None
    kept = load_weights(subnet.weights)
    assert all(torch.equal(kept[name], tensor) for name, tensor in answer.result.network.state_dict().items())


def test_a_folder_is_used_once(folder: Path, tmp_path: Path) -> None:
    call(folder, tmp_path / "out")
    with pytest.raises(InputError, match="finished fine-tuning"):
        call(folder, tmp_path / "out")
    (tmp_path / "out" / "subnet.json").unlink()
    with pytest.raises(InputError, match="settings was"):
        call(folder, tmp_path / "out", rate=1e-3)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="new folder"):
        call(folder, tmp_path / "foreign")


def test_what_is_missing_is_said(folder: Path, tmp_path: Path, flowers_dir: Path) -> None:
    with pytest.raises(MissingError, match="--supernet"):
        call(folder, tmp_path / "out", supernet=False)
    with pytest.raises(MissingError, match="--data"):
        call(folder, tmp_path / "out", data=None)
    with pytest.raises(InputError, match="10 classes"):
        call(folder, tmp_path / "out", data=f"{flowers_dir}/")
    assert not (tmp_path / "out").exists()
