"""Accuracy of subnets with batch-norm statistics of their own."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nat_deploy.data import ImageSet, batches, calibration_images
from nat_deploy.spaces import Architecture
from nat_deploy.supernets import OfaMobileNetV3Supernet, Subnet, calibrate_batch_norm, extract_subnet

_COUNTED_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How many of `num_images` were classified right."""

    num_right: int
    num_images: int

    @property
    def top1_percent(self) -> float:
        return 100.0 * self.num_right / self.num_images

    @property
    def error_percent(self) -> float:
        return 100.0 - self.top1_percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How good a network is on some images; `loss` is the mean cross entropy, which also sees how sure it is."""

    accuracy: Accuracy
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSettings:
    """Which images batch-norm statistics come from: `num_images` of the training part in batches of `batch_size`."""

    num_images: int = 512
    batch_size: int = 128


@torch.inference_mode()
def measure_score(network: nn.Module, labelled: Iterable[tuple[Tensor, Tensor]]) -> Score:
    """Accuracy and loss of a network, as its mode is now, over batches of (images, class indices)."""
    right, seen, loss = 0, 0, 0.0
    for images, labels in labelled:
        logits = network(images)
        right += int((logits.argmax(1) == labels).sum())
        seen += len(labels)
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    if not seen:
        raise ValueError("an accuracy needs at least one image, but none came")
    return Score(accuracy=Accuracy(num_right=right, num_images=seen), loss=loss / seen)


def measure_accuracy(network: nn.Module, labelled: Iterable[tuple[Tensor, Tensor]]) -> Accuracy:
    """Top-1 accuracy of a network, as its mode is now, over batches of (images, class indices)."""
    return measure_score(network, labelled).accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringImages:
    """All images that the accuracy of a subnet depends on, a small part of its data set.

    calibration         batch-norm statistics come from them, in this order ...
    calibration_batch   ... and in batches of so many
    counted             accuracy is counted on them
    """

    calibration: ImageSet
    calibration_batch: int
    counted: ImageSet

    @staticmethod
    def of(training_images: ImageSet, counted: ImageSet, settings: CalibrationSettings | None = None) -> "ScoringImages":
        settings = settings or CalibrationSettings()
        return ScoringImages(
            calibration=calibration_images(training_images, count=settings.num_images),
            calibration_batch=settings.batch_size,
            counted=counted,
        )


def calibrated_subnet(
    supernet: OfaMobileNetV3Supernet,
    architecture: Architecture,
    training_images: ImageSet,
    settings: CalibrationSettings | None = None,
) -> Subnet:
    """The subnet of an architecture with batch-norm statistics measured at its own resolution, ready for inference."""
    settings = settings or CalibrationSettings()
    images = calibration_images(training_images, count=settings.num_images)
    return _calibrated(supernet, architecture, images, settings.batch_size)


def score(supernet: OfaMobileNetV3Supernet, architecture: Architecture, images: ScoringImages) -> Accuracy:
    """Accuracy of one architecture with the supernet's weights as they are now; on a CPU the same with any number of threads."""
    subnet = _calibrated(supernet, architecture, images.calibration, images.calibration_batch)
    device = next(supernet.parameters()).device
    counted = batches(images.counted, batch_size=_COUNTED_BATCH, resolution=architecture.resolution, device=device)
    return measure_accuracy(subnet, counted)


def evaluate(
    supernet: OfaMobileNetV3Supernet,
    architecture: Architecture,
    *,
    training_images: ImageSet,
    images: ImageSet,
    calibration: CalibrationSettings | None = None,
) -> Accuracy:
    """`score` on images that are not chosen yet: `training_images` calibrate, `images` are counted."""
    return score(supernet, architecture, ScoringImages.of(training_images, images, calibration))


def _calibrated(supernet: OfaMobileNetV3Supernet, architecture: Architecture, images: ImageSet, batch_size: int) -> Subnet:
    subnet = extract_subnet(supernet, architecture).eval().to(memory_format=torch.channels_last)
    device = next(supernet.parameters()).device
    labelled = batches(images, batch_size=batch_size, resolution=architecture.resolution, device=device)
    return calibrate_batch_norm(subnet, (pixels for pixels, _ in labelled))
