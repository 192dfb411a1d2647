"""A plain network: an architecture with its own weights, nothing elastic."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from nat_deploy.errors import FileFormatError, MissingError
from nat_deploy.files import write_atomically
from nat_deploy.spaces import Block
from nat_deploy.supernets.layers import make_layer


class Subnet(nn.Sequential):
    """The blocks of an architecture in order: images (N, 3, R, R) to logits (N, classes).

    Weights are named `{block}.{layer}.{tensor}` with the block's position in `space.blocks(architecture)`; ONNX graphs use the same names.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__(*(make_layer(block) for block in blocks))
        self.blocks = tuple(blocks)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy `weights` in.

        Raises:
            FileFormatError: A name is missing, unknown, or has another shape; every such name is in the message.
        """
        problems = compare_shapes({name: tuple(t.shape) for name, t in self.state_dict().items()}, weights)
        if problems:
            raise FileFormatError(f"weights must fit the architecture, but {problems}; choose the file that belongs to it")
        self.load_state_dict({name: tensor.float() for name, tensor in weights.items()})

    def numpy_weights(self) -> dict[str, NDArray[np.float32]]:
        return {name: tensor.detach().cpu().float().numpy() for name, tensor in self.state_dict().items()}


def compare_shapes(expected: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor]) -> str:
    """What differs, as part of a sentence; empty when names and shapes agree."""
    missing = sorted(set(expected) - set(weights))
    unexpected = sorted(set(weights) - set(expected))
    misshapen = [
        f"{name} is {tuple(weights[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    parts = [("missing: ", missing), ("unexpected: ", unexpected), ("misshapen: ", misshapen)]
    return "; ".join(label + ", ".join(names) for label, names in parts if names)


def save_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically; the same weights and metadata give the same bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_atomically(path, _with_sorted_metadata(save(tensors, dict(metadata or {}))))


def _with_sorted_metadata(content: bytes) -> bytes:
    """A safetensors file, whose library writes metadata in random order, with them in alphabetical order."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[start:]


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        MissingError: There is no such file.
        FileFormatError: It is not a whole safetensors file.
    """
    if not path.is_file():
        raise MissingError(f"weights file '{path}' must exist, but it does not; give the path of a .safetensors file")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(
            f"'{path}' must be a whole safetensors file, but reading it failed ({error}); copy it again"
        ) from error


def tensors_under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with `prefix`, named without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def load_subnet_weights(blocks: Sequence[Block], path: Path) -> Subnet:
    """The network of `blocks` with the weights of a file, ready for inference."""
    subnet = Subnet(blocks)
    subnet.load_weights(load_weights(path))
    return subnet.eval()


@torch.no_grad()
def predict_logits(subnet: nn.Module, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits `(n, classes)` of images `(n, 3, r, r)`, on the CPU."""
    result: NDArray[np.float32] = subnet.eval()(torch.from_numpy(images)).numpy()
    return result
