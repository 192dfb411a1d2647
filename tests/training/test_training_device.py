import pytest
import torch

from nat_deploy.data import DataSplits, ImageSet
from nat_deploy.errors import InputError, MissingError
from nat_deploy.training.training_device import TrainingDevice, find_training_device

CPU = TrainingDevice(torch_device=torch.device("cpu"))


@pytest.mark.parametrize(("has_gpu", "name", "found"), [(True, "auto", "cuda"), (False, "auto", "cpu"), (True, "cpu", "cpu")])
def test_the_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch, has_gpu: bool, name: str, found: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert find_training_device(name).torch_device.type == found


def test_a_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingError, match="PyTorch finds none; install the driver, or train on 'cpu'"):
        find_training_device("cuda")


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(InputError, match="one of auto, cpu, cuda, but it is on 'tpu'"):
        find_training_device("tpu")


def test_a_cpu_computes_in_the_precision_of_the_weights_and_leaves_images_where_they_are() -> None:
    images = ImageSet(images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8), labels=torch.zeros(2, dtype=torch.int64))
    data = DataSplits(name="zeros", train=images, val=images, test=None, class_names=("zero",))
    assert CPU.autocast == "off"
    assert CPU.hold(data) is data


def test_images_that_would_fill_a_gpu_stay_in_main_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    images = ImageSet(images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8), labels=torch.zeros(2, dtype=torch.int64))
    data = DataSplits(name="zeros", train=images, val=images, test=None, class_names=("zero",))
    moved: list[torch.device] = []
    monkeypatch.setattr(ImageSet, "to", lambda self, device: moved.append(device) or self)
    gpu = TrainingDevice(torch_device=torch.device("cuda"))
    for free_bytes, expected in ((1000, 0), (10_000, 2)):  # the images take 2 x (384 + 16) bytes
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free_bytes: (free, 10 * free))
        gpu.hold(data)
        assert len(moved) == expected
