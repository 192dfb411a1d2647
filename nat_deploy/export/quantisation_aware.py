"""int8 by post-training quantisation, and by training where that would leave layers in float.

Both are held to the same drop in accuracy on validation images, beside the network in fp32. The trained weights are kept where they need fewer layers in float, or as many and
lose less accuracy. Quantisation alone must also keep the outputs, since noise may by chance be right as often; training changes them for a reason, and what it has learnt shows in
the accuracy.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nat_deploy.data import DataSplits
from nat_deploy.export.inference import Images
from nat_deploy.export.quantisation import (
    Choice,
    Int8Search,
    LabelledImages,
    OnStep,
    QuantisationReport,
    TrainingReport,
    too_much_lost,
)
from nat_deploy.export.weights import hash_weights
from nat_deploy.onnx_graphs import Int8Form, Quantisation
from nat_deploy.supernets import Subnet
from nat_deploy.training.finetune import FinetuneEpoch, FinetuneSettings
from nat_deploy.training.quantisation_aware import TrainedInt8, quantisation_aware_settings, train_quantised

_STEP = "training in int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Subnet:
    """A subnet, trained or as it was, the quantisation that it is exported with, and what came of it."""

    subnet: Subnet
    quantisation: Quantisation
    report: QuantisationReport


def quantise_subnet(
    subnet: Subnet,
    data: DataSplits,
    *,
    images: Images,
    validation: LabelledImages,
    epochs: int,
    checkpoint: Path,
    form: Int8Form = "onnxruntime",
    max_drop: float = 1.0,
    seed: int = 0,
    on_step: OnStep | None = None,
    settings: FinetuneSettings | None = None,
) -> Int8Subnet:
    """Quantise a subnet; where that leaves layers in float, or is not allowed at all, train it with the rounding and keep what is better.

    Args:
        subnet: Calibrated. It stays as it is and is the teacher.
        data: Its training part is learnt from; its validation part chooses the epoch. Test images are not looked at.
        images: Training images; half of them give ranges, the others compare.
        validation: Judges both.
        epochs: Of training; 0 trains never.
        checkpoint: Beginning of the name of a file that is there while it trains: a call that was broken off goes on from it.
        settings: How it is trained; by default those of `epochs` and `seed`.

    Raises:
        ParityError: Neither is allowed.
    """
    search = Int8Search(subnet.blocks, subnet.numpy_weights(), images, validation, form, seed, on_step)
    everything = search.calibrated()
    plain = search.fewest_in_float(everything, max_drop)
    if plain is not None and not (epochs and plain.quantisation.float_layers):
        return Int8Subnet(subnet=subnet, quantisation=plain.quantisation, report=search.report(plain, max_drop))
    if not epochs:
        raise too_much_lost(max_drop)
    settings = settings or quantisation_aware_settings(epochs, seed=seed)
    file = checkpoint.with_name(f"{checkpoint.name}.{_digest(subnet, everything, data, settings)}.safetensors")

    def on_epoch(epoch: FinetuneEpoch) -> None:
        if on_step is not None:
            on_step(_STEP, epoch.epoch, epoch.epochs)

    if on_step is not None:
        on_step(_STEP, 0, settings.epochs)
    trained = train_quantised(
        subnet, everything, data, resolution=validation.images.shape[-1], settings=settings, checkpoint=file, on_epoch=on_epoch
    )
    file.unlink(missing_ok=True)
    return _better(subnet, trained, search, everything, plain, max_drop, settings.epochs)


def _better(
    subnet: Subnet,
    trained: TrainedInt8 | None,
    search: Int8Search,
    everything: Quantisation,
    plain: Choice | None,
    max_drop: float,
    epochs: int,
) -> Int8Subnet:
    learnt, drop_after = None, None
    if trained is not None:
        retrained = search.with_weights(trained.subnet.numpy_weights())
        drop_after = retrained.damage(everything).drop_points
        learnt = retrained.fewest_in_float(everything, max_drop)
    is_kept, reason = _judge(plain, learnt, is_finite=trained is not None)
    chosen = learnt if is_kept else plain
    if chosen is None:
        raise too_much_lost(max_drop)
    training = TrainingReport(
        num_epochs=epochs,
        best_epoch=None if trained is None else trained.epoch,
        drop_before=search.damage(everything).drop_points,
        drop_after=drop_after,
        post_training=None if plain is None else plain.cost,
        trained=None if learnt is None else learnt.cost,
        is_kept=is_kept,
        reason=reason,
    )
    return Int8Subnet(
        subnet=trained.subnet if is_kept and trained is not None else subnet,
        quantisation=chosen.quantisation,
        report=replace(search.report(chosen, max_drop), training=training),
    )


def _judge(plain: Choice | None, learnt: Choice | None, *, is_finite: bool) -> tuple[bool, str]:
    """Whether the trained weights are kept, and why."""
    if learnt is None:
        return (
            False,
            "with any number of layers in float they lose more than is allowed" if is_finite else "no epoch gave finite outputs",
        )
    if plain is None:
        return True, "without training no layer may be in int8"
    mine, other = learnt.cost, plain.cost
    if mine.num_float_layers != other.num_float_layers:
        count = f"{mine.num_float_layers} instead of {other.num_float_layers} layers stay in float"
        return mine.num_float_layers < other.num_float_layers, count
    points = f"with as many layers in float {mine.drop_points:+.2f} instead of {other.drop_points:+.2f} points are lost"
    return mine.drop_points < other.drop_points, points


def _digest(subnet: Subnet, quantisation: Quantisation, data: DataSplits, settings: FinetuneSettings) -> str:
    """Of all that the training depends on: a checkpoint is only taken up for the same."""
    ranges = {name: (span.low, span.high) for name, span in (quantisation.ranges or {}).items()}
    question: Mapping[str, object] = {
        "weights": hash_weights(subnet.numpy_weights()),
        "form": quantisation.form,
        "ranges": ranges,
        "data": [data.name, len(data.train), len(data.val)],
        "settings": asdict(settings),
    }
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:12]
