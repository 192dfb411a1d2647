"""Where networks learn and are evaluated: this machine's GPU, if PyTorch finds one, or its CPU. Latencies are measured elsewhere, on the target device."""

from dataclasses import dataclass, replace

import torch

from nat_deploy.data import DataSplits, ImageSet
from nat_deploy.errors import InputError, MissingError
from nat_deploy.training.step import Autocast

_NAMES = ("auto", "cpu", "cuda")
_SHARE_FOR_IMAGES = 0.25  # of the GPU's free memory; larger data sets are copied batch by batch


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingDevice:
    """A device as PyTorch calls it."""

    torch_device: torch.device

    @property
    def autocast(self) -> Autocast:
        """The precision of matrix products that pays here: bfloat16 on a GPU that has it, otherwise that of the weights.

        On CPUs it does not pay: depthwise convolutions are slower there in bfloat16 than in float32, even where matrices are quicker.
        """
        is_quick = self.torch_device.type == "cuda" and torch.cuda.is_bf16_supported()
        return "bfloat16" if is_quick else "off"

    def hold(self, data: DataSplits) -> DataSplits:
        """The data with training and validation images on a GPU, if they take no more than a part of the memory there; test images stay."""
        parts = (data.train, data.val)
        if self.torch_device.type != "cuda" or sum(map(_num_bytes, parts)) > _SHARE_FOR_IMAGES * self._free_bytes():
            return data
        return replace(data, train=data.train.to(self.torch_device), val=data.val.to(self.torch_device))

    def _free_bytes(self) -> int:
        return torch.cuda.mem_get_info(self.torch_device)[0]


def find_training_device(name: str) -> TrainingDevice:
    """The device of that name: "cpu", "cuda", or with "auto" the GPU where there is one.

    Raises:
        InputError: There is no such name.
        MissingError: PyTorch finds no GPU.
    """
    if name not in _NAMES:
        raise InputError(f"training must be on one of {', '.join(_NAMES)}, but it is on '{name}'; choose one of these")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise MissingError(
            "training on 'cuda' needs a GPU and its driver, but PyTorch finds none; install the driver, or train on 'cpu' (slower)"
        )
    return TrainingDevice(torch_device=torch.device(name))


def _num_bytes(images: ImageSet) -> int:
    return images.images.numel() + 8 * images.labels.numel()
