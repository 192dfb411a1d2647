"""Accuracy of subnets with batch-norm statistics of their own."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nat_deploy.data import ImageSet, batches, calibration_batches
from nat_deploy.spaces import Architecture
from nat_deploy.supernets import OfaMobileNetV3Supernet, Subnet, calibrate_batch_norm, extract_subnet
from nat_deploy.training.layer_tree import LayerTree

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
    architectures: Sequence[Architecture],
    *,
    training_images: ImageSet,
    images: ImageSet,
    batch_size: int = 256,
    calibration: CalibrationSettings | None = None,
) -> list[Accuracy]:
    """Accuracies with the supernet's weights as they are now, in the order of `architectures`; each is what the architecture gets alone.

    Architectures that begin alike share that work, so one call with many is quicker than many calls.

    Args:
        training_images: Calibrate batch norms.
        images: Are counted.

    Raises:
        ValueError: There is no image to calibrate with, or none to count.
    """
    found: dict[int, Accuracy] = {}
    device = next(supernet.parameters()).device
    for resolution in sorted({architecture.resolution for architecture in architectures}):
        measured = list(_images(training_images, resolution, calibration or CalibrationSettings(), device))
        for together in _alike(supernet, architectures, resolution):
            tree = LayerTree(supernet, [architectures[index] for index in together], measured)
            right, seen = [0] * len(together), 0
            for pixels, labels in batches(images, batch_size=batch_size, resolution=resolution, device=device):
                seen += len(labels)
                for position, logits in tree.logits(pixels):
                    right[position] += int((logits.argmax(1) == labels).sum())
            _check_counted(seen)
            found.update({i: Accuracy(num_right=count, num_images=seen) for i, count in zip(together, right, strict=True)})
    return [found[index] for index in range(len(architectures))]


def _check_counted(num_images: int) -> None:
    if not num_images:
        raise ValueError("an accuracy needs at least one image, but none came")


def _alike(supernet: OfaMobileNetV3Supernet, architectures: Sequence[Architecture], resolution: int) -> list[list[int]]:
    """Positions of the architectures of a resolution, those that begin alike next to each other, in groups that memory can hold."""
    names = {i: [b.key for b in supernet.space.blocks(a)] for i, a in enumerate(architectures) if a.resolution == resolution}
    order = sorted(names, key=lambda index: names[index])
    return [order[start : start + _MOST_TOGETHER] for start in range(0, len(order), _MOST_TOGETHER)]
