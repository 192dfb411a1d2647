"""Accuracy of subnets with batch-norm statistics of their own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nat_deploy.data import ImageSet, batches, calibration_images
from nat_deploy.spaces import Architecture
from nat_deploy.supernets import Subnet, Supernet, calibrate_batch_norm, extract_subnet
from nat_deploy.training.layer_tree import LayerTree

_COUNTED_BATCH = 256
_MOST_TOGETHER = 16  # subnets of width 1.0 hold 12 to 30 MB of weights each


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
    _check_counted(seen)
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
    supernet: Supernet,
    architecture: Architecture,
    training_images: ImageSet,
    settings: CalibrationSettings | None = None,
) -> Subnet:
    """The subnet of an architecture with batch-norm statistics measured at its own resolution, ready for inference."""
    subnet = extract_subnet(supernet, architecture).eval().to(memory_format=torch.channels_last)
    return recalibrated(subnet, training_images, resolution=architecture.resolution, settings=settings)


def recalibrated(
    subnet: Subnet, training_images: ImageSet, *, resolution: int, settings: CalibrationSettings | None = None
) -> Subnet:
    """A copy of `subnet` with the batch-norm statistics of training images of that size, not augmented."""
    settings = settings or CalibrationSettings()
    chosen = calibration_images(training_images, count=settings.num_images)
    device = next(subnet.parameters()).device
    labelled = batches(chosen, batch_size=settings.batch_size, resolution=resolution, device=device)
    return calibrate_batch_norm(subnet, (pixels for pixels, _ in labelled))


def evaluate(
    supernet: Supernet,
    architectures: Sequence[Architecture],
    *,
    training_images: ImageSet,
    images: ImageSet,
    calibration: CalibrationSettings | None = None,
) -> list[Accuracy]:
    """`score` on images that are not chosen yet: `training_images` calibrate, `images` are counted."""
    return score(supernet, architectures, ScoringImages.of(training_images, images, calibration))


def score(supernet: Supernet, architectures: Sequence[Architecture], images: ScoringImages) -> list[Accuracy]:
    """Accuracies with the supernet's weights as they are now, in the order of `architectures`; each is what the architecture gets alone.

    Architectures that begin alike share that work, so one call with many is quicker than many calls. On a CPU the answers are the same with
    any number of threads.

    Raises:
        ValueError: There is no image to calibrate with, or none to count.
    """
    found: dict[int, Accuracy] = {}
    device = next(supernet.parameters()).device
    for resolution in sorted({architecture.resolution for architecture in architectures}):
        labelled = batches(images.calibration, batch_size=images.calibration_batch, resolution=resolution, device=device)
        measured = [pixels for pixels, _ in labelled]
        for together in _alike(supernet, architectures, resolution):
            tree = LayerTree(supernet, [architectures[index] for index in together], measured)
            right, seen = [0] * len(together), 0
            for pixels, labels in batches(images.counted, batch_size=_COUNTED_BATCH, resolution=resolution, device=device):
                seen += len(labels)
                for position, logits in tree.logits(pixels):
                    right[position] += int((logits.argmax(1) == labels).sum())
            _check_counted(seen)
            found.update({i: Accuracy(num_right=count, num_images=seen) for i, count in zip(together, right, strict=True)})
    return [found[index] for index in range(len(architectures))]


def _check_counted(num_images: int) -> None:
    if not num_images:
        raise ValueError("an accuracy needs at least one image, but none came")


def _alike(supernet: Supernet, architectures: Sequence[Architecture], resolution: int) -> list[list[int]]:
    """Positions of the architectures of a resolution, those that begin alike next to each other, in groups that memory can hold."""
    names = {i: [b.key for b in supernet.space.blocks(a)] for i, a in enumerate(architectures) if a.resolution == resolution}
    order = sorted(names, key=lambda index: names[index])
    return [order[start : start + _MOST_TOGETHER] for start in range(0, len(order), _MOST_TOGETHER)]
