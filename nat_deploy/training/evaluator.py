"""What a search asks about architectures: a supernet and its data set, behind two questions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nat_deploy.data import DataSplits, ImageSet
from nat_deploy.errors import FileFormatError
from nat_deploy.spaces import Architecture
from nat_deploy.supernets import Subnet, Supernet, load_weights, save_weights
from nat_deploy.supernets.supernet_file import load_into
from nat_deploy.training.adapt import AdaptationSettings, GeneSampler, OnStep, adapt_supernet
from nat_deploy.training.evaluate import Accuracy, CalibrationSettings, ScoringImages, calibrated_subnet, evaluate, score

_VERSION = "version"
TOGETHER = 8  # subnets whose shared layers are computed once; what a killed search evaluates again at most
_NOBODY: Callable[[int, int], None] = lambda done, total: None  # noqa: E731


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorSettings:
    """How a supernet is adapted and its subnets are evaluated.

    first       the first adaptation, which also teaches the new classifier
    further     each later one
    calibration images for batch-norm statistics
    max_images  most validation images that an evaluation counts, always the same ones
    """

    first: AdaptationSettings = AdaptationSettings(epochs=20, learning_rate=2e-3)
    further: AdaptationSettings = AdaptationSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    max_images: int = 2000


class SupernetEvaluator:
    """Errors of subnets with the supernet's present weights, and the adaptation of these weights.

    `version` counts adaptations: errors of different versions belong to different weights and must not be compared.
    """

    def __init__(self, supernet: Supernet, data: DataSplits, settings: EvaluatorSettings, on_step: OnStep = _NOBODY) -> None:
        self.supernet = supernet
        self.data = data
        self.settings = settings
        self.on_step = on_step
        self._version = 0
        counted = _evenly_spaced(data.val, settings.max_images)
        self.scoring_images = ScoringImages.of(data.train, counted, settings.calibration)

    @property
    def version(self) -> int:
        return self._version

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[float]:
        """Top-1 errors in percent on validation images, a few at a time, each with batch-norm statistics of its own."""
        for start in range(0, len(architectures), TOGETHER):
            accuracies = score(self.supernet, architectures[start : start + TOGETHER], self.scoring_images)
            yield from (accuracy.error_percent for accuracy in accuracies)

    def test_accuracy(self, architecture: Architecture) -> Accuracy | None:
        """Accuracy on the test images, which no choice may look at; None without a test part."""
        if self.data.test is None:
            return None
        calibration = self.settings.calibration
        (accuracy,) = evaluate(
            self.supernet, [architecture], training_images=self.data.train, images=self.data.test, calibration=calibration
        )
        return accuracy

    def adapt(self, distribution: GeneSampler, rng: np.random.Generator) -> None:
        """Train the weights on architectures from `distribution`."""
        settings = self.settings.first if self._version == 0 else self.settings.further
        adapt_supernet(self.supernet, self.data, distribution, settings, rng, self.on_step)
        self._version += 1

    def subnet(self, architecture: Architecture) -> Subnet:
        """The plain network of an architecture with the present weights and calibrated batch norms."""
        return calibrated_subnet(self.supernet, architecture, self.data.train, self.settings.calibration)

    def save(self, path: Path) -> None:
        """Write weights and version to one file, atomically."""
        save_weights(path, {**self.supernet.state_dict(), _VERSION: torch.tensor(self._version)})

    def load(self, path: Path) -> None:
        """Restore what `save` wrote.

        Raises:
            MissingError: There is no such file.
            FileFormatError: It is not what `save` wrote for this space and number of classes.
        """
        weights = load_weights(path)
        if _VERSION not in weights:
            raise FileFormatError(
                f"'{path}' must be a checkpoint of a search, but it has no version; resume a run folder that search wrote"
            )
        version = int(weights.pop(_VERSION))
        load_into(self.supernet, weights, path)
        self._version = version


def _evenly_spaced(image_set: ImageSet, count: int) -> ImageSet:
    """At most `count` images of all classes (stored class by class), always the same."""
    if len(image_set) <= count:
        return image_set
    return image_set.subset(torch.linspace(0, len(image_set) - 1, count).long())
