"""Reading the checkpoints that Once-for-all publishes, in both generations of their names.

The older files call a block's body `mobile_inverted_conv`, the newer ones `conv`; elastic layers repeat a level (`conv.conv`, `bn.bn`,
`linear.linear`). Here both become one spelling, and that becomes ours.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from nat_deploy.errors import FileFormatError, MissingError
from nat_deploy.spaces import SearchSpace
from nat_deploy.supernets.make_supernet import make_supernet
from nat_deploy.supernets.subnet import load_weights
from nat_deploy.supernets.supernet import Supernet
from nat_deploy.supernets.supernet_file import load_into

_LAYERS = {
    "inverted_bottleneck.conv": "expansion",
    "inverted_bottleneck.bn": "expansion_bn",
    "depth_conv.conv": "depthwise",
    "depth_conv.bn": "depthwise_bn",
    "depth_conv.se.fc.reduce": "se_reduce",
    "depth_conv.se.fc.expand": "se_expand",
    "point_linear.conv": "projection",
    "point_linear.bn": "projection_bn",
}
_BOTTLENECK_LAYERS = {
    f"{name}.{part}": ours
    for name in ("conv1", "conv2", "conv3", "downsample")
    for part, ours in (("conv", name), ("bn", f"{name}_bn"))
}
_OUTSIDE_BLOCKS = {
    **{f"input_stem.{place}.{part}": f"stem.{place}.{part}" for place in (0, 2) for part in ("conv", "bn")},
    **{f"input_stem.1.conv.{part}": f"stem.1.{part}" for part in ("conv", "bn")},
    "first_conv.conv": "stem.conv",
    "first_conv.bn": "stem.bn",
    "final_expand_layer.conv": "final_expand.conv",
    "final_expand_layer.bn": "final_expand.bn",
    "feature_mix_layer.conv": "feature_mix.linear",
    "feature_mix_layer.bn": "feature_mix.bn",
    "classifier.linear": "classifier.linear",
}
_TRANSFORMS = {"depth_conv.conv.7to5_matrix": "transform_5", "depth_conv.conv.5to3_matrix": "transform_3"}


def import_supernet(path: Path, space: SearchSpace) -> Supernet:
    """The supernet of an Once-for-all checkpoint (`.pth`, or its tensors as safetensors), or of our own names.

    A checkpoint without kernel matrices gets identities, as Once-for-all starts with. Nothing else may be missing.

    Raises:
        MissingError: There is no such file.
        FileFormatError: The file cannot be read safely, or names or shapes do not fit `space`; every one of them is in the message.
    """
    weights = {rename(name): tensor for name, tensor in read_checkpoint(path).items() if not name.endswith("num_batches_tracked")}
    if (
        "final_expand.conv.weight" not in weights
    ):  # ProxylessNAS calls the last convolution what MobileNetV3 calls the layer after it
        weights = {re.sub(r"^feature_mix\.(linear|bn)", _as_final_expand, name): tensor for name, tensor in weights.items()}
    supernet = make_supernet(space)
    for name, tensor in supernet.state_dict().items():
        if name.startswith("layers.") and ".transform_" in name:
            weights.setdefault(name, torch.eye(len(tensor)))
        if name == "feature_mix.linear.weight" and name in weights and weights[name].ndim == 4:
            weights[name] = weights[name].flatten(1)  # theirs is a 1x1 convolution on a 1x1 map
    load_into(supernet, weights, path)
    return supernet


def _as_final_expand(found: re.Match[str]) -> str:
    return "final_expand.conv" if found[1] == "linear" else "final_expand.bn"


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint file; nothing in it is executed."""
    if not path.is_file():
        raise MissingError(f"checkpoint '{path}' must exist, but it does not; give the path of a downloaded file")
    if path.suffix == ".safetensors":
        return load_weights(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileFormatError(
            f"'{path}' must be a checkpoint of plain tensors, but reading it failed ({reason}); download it again"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise FileFormatError(f"'{path}' must hold named tensors, but it does not; give an Once-for-all checkpoint")
    return {str(name): tensor for name, tensor in content.items()}


def rename(name: str) -> str:
    """Our name of an Once-for-all tensor; a name that is not theirs stays as it is, and is reported later."""
    plain = name.removeprefix("module.").replace(".mobile_inverted_conv.", ".conv.")
    bottleneck = re.fullmatch(r"blocks\.(\d+)\.(conv[123]|downsample)\.(.+)", plain)
    if bottleneck:
        layer, tensor = _split(f"{bottleneck[2]}.{bottleneck[3]}")
        return f"layers.{bottleneck[1]}.{_BOTTLENECK_LAYERS[layer]}.{tensor}" if layer in _BOTTLENECK_LAYERS else name
    block = re.fullmatch(r"blocks\.(\d+)\.conv\.(.+)", plain)
    if not block:
        layer, tensor = _split(plain)
        return f"{_OUTSIDE_BLOCKS[layer]}.{tensor}" if layer in _OUTSIDE_BLOCKS else name
    index, rest = int(block[1]), block[2]
    place = "first" if index == 0 else f"layers.{index - 1}"
    if rest in _TRANSFORMS:
        return f"{place}.{_TRANSFORMS[rest]}"
    layer, tensor = _split(rest)
    return f"{place}.{_LAYERS[layer]}.{tensor}" if layer in _LAYERS else name


def _split(name: str) -> tuple[str, str]:
    """Layer and tensor of a name, with the doubled level of elastic layers removed."""
    layer, _, tensor = name.rpartition(".")
    return re.sub(r"(^|\.)(conv|bn|linear)\.\2$", r"\1\2", layer), tensor
