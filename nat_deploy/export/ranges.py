"""What the tensors of a network lie between, seen on calibration images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from nat_deploy.export.inference import INPUT, Images, infer_model
from nat_deploy.onnx_graphs import Range

Calibration = Literal["min-max", "percentile", "mse"]
CALIBRATIONS: tuple[Calibration, ...] = get_args(Calibration)

_SAMPLE_SIZE = 32768  # values kept of each tensor
_MANY_VALUES = 1 << 17  # pixels of a batch: with all tensors kept, that is some 200 MB at width 1.0
_PERCENT = 99.99
_SHARES = np.geomspace(1.0, 0.2, 16)  # of the span that was seen
_LEVELS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One tensor over all calibration images: its extremes, zero at least, and a random sample of its values."""

    low: float
    high: float
    sample: NDArray[np.float32]

    def extended(self, values: NDArray[np.float32], rng: np.random.Generator, count: int) -> "Seen":
        flat = values.ravel()
        drawn = flat[rng.integers(flat.size, size=count)]
        return Seen(
            low=min(self.low, float(flat.min())),
            high=max(self.high, float(flat.max())),
            sample=np.concatenate([self.sample, drawn]),
        )

    def range(self, calibration: Calibration) -> Range:
        """Min-max keeps every value; a percentile lets one of ten thousand saturate on each side; mse loses least on average."""
        match calibration:
            case "min-max":
                return Range(low=self.low, high=self.high)
            case "percentile":
                low, high = np.percentile(self.sample, [100 - _PERCENT, _PERCENT])
                return Range(low=min(0.0, float(low)), high=max(0.0, float(high)))
            case "mse":
                shares = [(low, high) for share in _SHARES for low, high in ((share, share), (1.0, share), (share, 1.0))]
                errors = [rounding_error(self.sample, self.low * low, self.high * high) for low, high in shares]
                low, high = shares[int(np.argmin(errors))]
                return Range(low=self.low * low, high=self.high * high)


def observe(model: onnx.ModelProto, images: Images, *, seed: int) -> dict[str, Seen]:
    """Every tensor of an fp32 model by name, over all images."""
    spied = onnx.ModelProto.FromString(model.SerializeToString())
    names = [node.output[0] for node in model.graph.node]
    del spied.graph.output[:]
    spied.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    batch_size = min(len(images), max(1, _MANY_VALUES // images[0, 0].size))
    count = -(-_SAMPLE_SIZE * batch_size // len(images))
    rng = np.random.default_rng(seed)
    nothing = Seen(low=0.0, high=0.0, sample=np.empty(0, np.float32))
    seen = dict.fromkeys(names, nothing) | {INPUT: nothing.extended(images, rng, _SAMPLE_SIZE)}
    for outputs in infer_model(spied, images, batch_size=batch_size):
        for name in names:
            seen[name] = seen[name].extended(outputs[name], rng, count)
    return seen


def make_ranges(seen: Mapping[str, Seen], calibration: Calibration) -> dict[str, Range]:
    return {name: tensor.range(calibration) for name, tensor in seen.items()}


def rounding_error(values: NDArray[np.float32], low: float, high: float) -> float:
    """Mean squared difference between values and what 8 bits between `low` and `high` keep of them."""
    scale = max(high - low, 1e-6) / _LEVELS
    zero = round(-low / scale)
    kept = (np.clip(np.rint(values / scale) + zero, 0, _LEVELS) - zero) * scale
    return float(np.mean((kept - values) ** 2))
