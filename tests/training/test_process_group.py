"""Training in two real processes."""

from functools import partial
from pathlib import Path

import pytest
import torch

from nat_deploy.data import DataSplits, ImageSet
from nat_deploy.spaces import OfaMobileNetV3Space
from nat_deploy.supernets import MBConvSupernet, load_weights
from nat_deploy.training.phases import progressive_shrinking
from nat_deploy.training.pretrain import TrainingSettings, train_supernet
from nat_deploy.training.process_group import ALONE, Processes, run_in_processes


def noise(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    return ImageSet(
        images=torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator),
        labels=torch.randint(3, (count,), generator=generator),
    )


def train(folder: Path, num_parts: int, processes: Processes, device: torch.device) -> None:
    """A largest phase and a width phase with a teacher, two steps each; SGD, because AdamW makes rounding of small gradients large."""
    torch.set_num_threads(1)
    data = DataSplits(name="noise", train=noise(32, 0), val=noise(8, 1), test=None, class_names=("a", "b", "c"))
    supernet = MBConvSupernet(OfaMobileNetV3Space(0.35, (32,), 3), torch.Generator().manual_seed(0)).to(device)
    phases = progressive_shrinking(resolutions=(32,), epochs=(1, 0, 0, 0, 1, 0), learning_rate=4e-3)
    settings = TrainingSettings(batch_size=16, num_parts=num_parts, average_decay=0.5, optimiser="sgd")
    train_supernet(supernet, data, phases, settings, folder, processes=processes)


@pytest.mark.filterwarnings("ignore")  # lightning-fabric's own
def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    alone = (ALONE, torch.device("cpu"))
    train(tmp_path / "one", 2, *alone)
    train(tmp_path / "undivided", 1, *alone)
    run_in_processes(partial(train, tmp_path / "two", 2), count=2, accelerator="cpu")

    one, two, undivided = (load_weights(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two", "undivided"))
    compared = [name for name in one if name.startswith(("weights/", "average/")) and "running_" not in name]
    assert len(compared) > 200
    for name in compared:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6)
    assert not all(torch.allclose(undivided[name], one[name], rtol=1e-4, atol=1e-6) for name in compared), "parts must matter"
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 2, "one process reports"
