"""Quantisation-aware training: a subnet learns to compute with the rounding of its int8 graph.

The network that rounds nothing teaches, beside the labels. Training images alone are learnt from; validation images say after which epoch it was best.

Sources: Jacob et al., CVPR 2018, section 3; distillation, Mishra & Marr, arXiv 1711.05852 (a network in full precision teaches the same one in few bits).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nat_deploy.data import DataSplits
from nat_deploy.onnx_graphs import Quantisation
from nat_deploy.supernets import Subnet
from nat_deploy.training.finetune import FinetuneEpoch, FinetuneSettings, Lesson, train_to_best
from nat_deploy.training.quantised_subnet import QuantisedSubnet
from nat_deploy.training.step import StepSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedInt8:
    """The weights after the best epoch, as a subnet that rounds nothing, in evaluation mode."""

    subnet: Subnet
    epoch: int


def quantisation_aware_settings(epochs: int, *, seed: int) -> FinetuneSettings:
    """Few epochs with a small learning rate: the weights are near a good place already."""
    return FinetuneSettings(
        epochs=epochs,
        patience=epochs,
        warmup_epochs=min(0.5, epochs / 4),
        learning_rate=5e-4,
        weight_decay=0.0,
        average_decay=0.99,
        seed=seed,
        step=StepSettings(label_smoothing=0.0, distilled_share=0.7),
    )


def train_quantised(
    subnet: Subnet,
    quantisation: Quantisation,
    data: DataSplits,
    *,
    resolution: int,
    settings: FinetuneSettings,
    checkpoint: Path,
    on_epoch: Callable[[FinetuneEpoch], None] = lambda epoch: None,
) -> TrainedInt8 | None:
    """Train a copy of `subnet` through the int8 graph of `quantisation`, whose ranges stay as they are; None where no epoch gave finite outputs.

    Called again with the same arguments after it was broken off, it goes on from `checkpoint`.

    Args:
        subnet: Calibrated; it is also the teacher.
        resolution: Height and width at which the network reads images, in pixels.

    Raises:
        FileFormatError: `checkpoint` is broken.
    """
    start = QuantisedSubnet(subnet, quantisation).eval()
    lesson = Lesson(start=start, teacher=subnet, resolution=resolution, augmentation=data.augmentation, settings=settings)
    best = train_to_best(lesson, data.train, data.val, checkpoint, on_epoch)
    if best is None:
        return None
    trained = Subnet(subnet.blocks)
    trained.load_state_dict(best.weights)
    return TrainedInt8(subnet=trained.eval(), epoch=best.epoch)
