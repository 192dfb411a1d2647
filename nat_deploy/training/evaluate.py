"""Accuracy of subnets with batch-norm statistics of their own."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nat_deploy.data import ImageSet, batches, calibration_batches
from nat_deploy.spaces import Architecture
from nat_deploy.supernets import OfaMobileNetV3Supernet, Subnet, calibrate_batch_norm, extract_subnet


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


def calibrated_subnet(
    supernet: OfaMobileNetV3Supernet,
    architecture: Architecture,
    training_images: ImageSet,
    settings: CalibrationSettings | None = None,
) -> Subnet:
    """The subnet of an architecture with batch-norm statistics measured at its own resolution, ready for inference."""
    subnet = extract_subnet(supernet, architecture).eval().to(memory_format=torch.channels_last)
    device = next(supernet.parameters()).device
    return calibrate_batch_norm(
        subnet, _images(training_images, architecture.resolution, settings or CalibrationSettings(), device)
    )


def _images(image_set: ImageSet, resolution: int, settings: CalibrationSettings, device: torch.device) -> Iterator[Tensor]:
    labelled = calibration_batches(
        image_set, count=settings.num_images, batch_size=settings.batch_size, resolution=resolution, device=device
    )
    return (images for images, _ in labelled)


def evaluate(
    supernet: OfaMobileNetV3Supernet,
    architecture: Architecture,
    *,
    training_images: ImageSet,
    images: ImageSet,
    batch_size: int = 256,
    calibration: CalibrationSettings | None = None,
) -> Accuracy:
    """Accuracy of one architecture with the supernet's weights as they are now; `training_images` calibrate, `images` are counted."""
    subnet = calibrated_subnet(supernet, architecture, training_images, calibration)
    device = next(supernet.parameters()).device
    return measure_accuracy(subnet, batches(images, batch_size=batch_size, resolution=architecture.resolution, device=device))
