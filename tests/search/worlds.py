"""Synthetic supernets and devices, whose truth is a formula: fast, deterministic, and wrong in known ways."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.latency import MeasuredSitting, Prediction
from nat_deploy.search import ArchitectureDistribution
from nat_deploy.spaces import Architecture, Genes, SearchSpace, make_space

SPACE = make_space("ofa-mbv3-w0.35", resolutions=(32, 40, 48, 56, 64), num_classes=10)


class SyntheticEvaluator:
    """A supernet, and the evaluator of an only one. Error falls with MACs and with wide layers; each adaptation lowers it, more for architectures
    near the adapted distribution's size.

    Args:
        taste: Of the data set: from it on, the larger the number, the more small images are liked.
    """

    def __init__(self, space: SearchSpace = SPACE, taste: int = 0) -> None:
        self.space = space
        self.taste = taste
        self.version = 0
        self.gain = 0.0
        self.num_evaluated = 0

    @property
    def supernets(self) -> Mapping[str, "SyntheticEvaluator"]:
        return {"error_percent": self}

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterable[Sequence[float]]:
        self.num_evaluated += len(architectures)
        genes = np.stack([self.space.encode(architecture) for architecture in architectures])
        return [(float(error),) for error in self.errors(genes)]

    def errors(self, genes: Genes) -> NDArray[np.float64]:
        """The truth in percent, shape `(n,)`."""
        counts = self.space.count(genes)
        wide = (genes[:, 2:] >= 7).sum(axis=1) / 20
        texture = np.sin(genes @ np.arange(1, genes.shape[1] + 1)) * 0.3  # what no surrogate can know
        return 60 - 8 * np.log2(counts.macs / 1e6) - 2 * wide + texture + 3 * self.taste * genes[:, 0] - self.gain

    def adapt(self, distribution: ArchitectureDistribution, rng: np.random.Generator) -> None:
        sampled = distribution.sample(rng, 16)
        self.gain += 1.0 + 0.01 * float(sampled.mean())
        self.version += 1

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"version": self.version, "gain": self.gain}))

    def load(self, path: Path) -> None:
        state = json.loads(path.read_text())
        self.version, self.gain = state["version"], state["gain"]


class SyntheticDataSets:
    """The evaluator of several data sets, each with a supernet and a taste of its own."""

    def __init__(self, names: Sequence[str]) -> None:
        self.supernets = {f"error_percent@{name}": SyntheticEvaluator(taste=taste) for taste, name in enumerate(names)}

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterable[Sequence[float]]:
        for found in zip(*(supernet.evaluate(architectures) for supernet in self.supernets.values()), strict=True):
            yield [error for (error,) in found]


@dataclass(frozen=True)
class FakeTarget:
    key: str = "fake-board.fake-1.0.fp32.t1.b1"


@dataclass(frozen=True)
class FakeMeasurement:
    median_ms: float
    low_ms: float
    high_ms: float


@dataclass
class SyntheticDevice:
    """True latency grows with MACs and layers; the predictor's answers are `bias` times the truth, with an error of its own for each network.

    num_measured    networks measured so far, the same one again counts again
    sittings        names of the sittings that were asked for, in order
    """

    bias: float = 1.0
    space: SearchSpace = field(default_factory=lambda: SPACE)
    slowness: float = 1.0
    num_measured: int = 0
    sittings: list[str] = field(default_factory=list)

    def true_ms(self, genes: Genes) -> NDArray[np.float64]:
        return self.slowness * (0.5 + self.space.count(genes).macs / 1e7 + 0.05 * (genes[:, 2:] > 0).sum(axis=1))

    def measure(self, architectures: Sequence[Architecture], *, sitting: str, exact: bool) -> list[FakeMeasurement]:
        self.num_measured += len(architectures)
        self.sittings.append(sitting)
        true = self.true_ms(np.stack([self.space.encode(architecture) for architecture in architectures]))
        half_width = 0.01 if exact else 0.02
        return [FakeMeasurement(float(ms), float((1 - half_width) * ms), float((1 + half_width) * ms)) for ms in true]

    def predictor(self) -> "BiasedPredictor":
        return BiasedPredictor(self)


@dataclass(frozen=True)
class BiasedPredictor:
    """Knows the law of the device, but not its bias; each sitting tells that."""

    device: SyntheticDevice
    target: FakeTarget = FakeTarget()
    factor: float = 1.0

    def predict(self, genes: Genes) -> Prediction:
        own = 1 + 0.05 * np.sin(genes @ np.arange(1, genes.shape[1] + 1) ** 2)
        value = self.device.true_ms(genes) * self.device.bias * own * self.factor
        return Prediction(value=value, low=0.95 * value, high=1.05 * value)

    def refit(self, sittings: Sequence[MeasuredSitting]) -> "BiasedPredictor":
        if not sittings:
            return self
        ratios = [sitting.value_ms / replace(self, factor=1.0).predict(sitting.genes).value for sitting in sittings]
        return replace(self, factor=float(np.median(np.concatenate(ratios))))
