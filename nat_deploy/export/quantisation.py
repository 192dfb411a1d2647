"""int8 after training: ranges from calibration images, sensitive layers left in float.

Three ways of choosing ranges are tried, since none is best for all networks: on four subnets adapted to CIFAR-10, min-max and
mse lost least; on four adapted to photographs of flowers, min-max on two and percentile on two, while mse disturbed twice as
much. Which disturbs least is measured on images of their own: the divergence between the class probabilities of both networks
(Kullback and Leibler), which needs no labels and is finer than an accuracy. Correcting biases for the mean error of the rounded
weights (Nagel et al., ICCV 2019) was tried too and gained nothing.

An accuracy decides when enough is left in float, together with the outputs themselves. Layers go there in order of what each disturbs when it alone is in int8. What a
layer saves when it alone is in float would be another order, and hardly one at all: beside the rounding of all others it drowns.
On the network of the tests, with 24 images, four of 48 layers in float left a seventh of the divergence in the first order (0.0035
to 0.0005) and nearly all of it in the second, which lost something until every layer was in float.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from nat_deploy.errors import ParityError
from nat_deploy.export.inference import Images, Logits, logits_of
from nat_deploy.export.parity import Tolerance
from nat_deploy.export.ranges import CALIBRATIONS, Calibration, make_ranges, observe
from nat_deploy.onnx_graphs import Int8Form, Quantisation, Weights, build_graph, layer_names, takes_int8
from nat_deploy.spaces import Block

OnStep = Callable[[str, int, int], None]  # what is done, how much of it, out of how much

_TOLERANCE = Tolerance.of("int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages:
    """Images as the network takes them, float32 (n, 3, r, r), and their classes, int64 (n,)."""

    images: Images
    labels: NDArray[np.int64]

    def top1_percent(self, logits: Logits) -> float:
        return 100.0 * float(np.mean(logits.argmax(axis=1) == self.labels))


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Cost:
    """What int8 within the allowed drop takes: layers left in float, and points of accuracy lost on validation images."""

    num_float_layers: int
    drop_points: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What quantisation-aware training brought beside quantisation after training.

    num_epochs               that were trained, all layers in int8
    best_epoch               of the smallest validation loss: its weights were judged; None where none gave finite outputs
    drop_before, drop_after  points of accuracy lost on validation images with all layers in int8, before and after it
    post_training, trained   what each takes to stay within the allowed drop; None where nothing is enough
    is_kept                  whether the trained weights were exported; `reason` why, for people
    """

    num_epochs: int
    best_epoch: int | None
    drop_before: float
    drop_after: float | None
    post_training: Int8Cost | None
    trained: Int8Cost | None
    is_kept: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisationReport:
    """What was quantised and what it cost.

    form                  whose rules the graph keeps: "onnxruntime" or "tensorrt"
    calibration           how ranges were chosen, on `num_calibration_images` training images
    float_layers          convolutions and linear layers that stayed in float, of `num_layers`
    fp32_top1_percent     accuracy before, over `num_validation_images`; `top1_percent` after, `drop_points` the difference
    max_drop              what was allowed, in points
    training              quantisation-aware training, None where there was none
    """

    form: Int8Form
    calibration: Calibration
    num_calibration_images: int
    float_layers: tuple[str, ...]
    num_layers: int
    fp32_top1_percent: float
    top1_percent: float
    drop_points: float
    num_validation_images: int
    max_drop: float
    training: TrainingReport | None = None


def too_much_lost(max_drop: float) -> ParityError:
    return ParityError(
        f"int8 must lose at most {max_drop:g} points of accuracy and keep the outputs, but loses more with any layer; "
        "raise --max-drop, calibrate with more images, or export with --precision fp16"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Points of accuracy lost, and the share of images whose outputs are further from the network's than an export may be.

    A network that was trained further may be as far as it likes.
    """

    drop_points: float
    share_far: float
    is_trained: bool = False

    def is_allowed(self, max_drop: float) -> bool:
        # The export is compared on other images: half of what is allowed there leaves room for chance.
        return self.drop_points <= max_drop and (self.is_trained or self.share_far <= _TOLERANCE.outliers / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A quantisation and what it costs."""

    quantisation: Quantisation
    damage: Damage

    @property
    def cost(self) -> Int8Cost:
        return Int8Cost(num_float_layers=len(self.quantisation.float_layers), drop_points=self.damage.drop_points)


class Int8Search:
    """Looks for a quantisation of one network, and judges it beside the network in fp32."""

    def __init__(
        self,
        blocks: Sequence[Block],
        weights: Weights,
        images: Images,
        validation: LabelledImages,
        form: Int8Form,
        seed: int,
        on_step: OnStep | None = None,
    ) -> None:
        self._blocks, self._weights, self._form, self._seed, self._on_step = blocks, weights, form, seed, on_step or _ignore
        half = max(1, len(images) // 2)
        self._seen_images, self._compared = images[:half], images[half:] if len(images) > 1 else images
        self._validation = validation
        self._exact = build_graph(blocks, weights=weights, batch_size=None)
        self._exact_logits = logits_of(self._exact, self._compared)
        self._exact_on_validation = logits_of(self._exact, validation.images)
        self._calibration: Calibration = "min-max"
        self._is_trained = False
        self._layers = [layer for layer in layer_names(blocks) if takes_int8(layer, form)]

    def with_weights(self, weights: Weights) -> "Int8Search":
        """The same search among graphs with weights that were trained further, judged by the accuracy of the first network."""
        other = copy.copy(self)
        other._weights, other._is_trained = weights, True
        return other

    def calibrated(self) -> Quantisation:
        """Everything in int8, with the ranges that disturb least; `report` then says which they are."""
        self._on_step("calibrating", 0, 1 + len(CALIBRATIONS))
        seen = observe(self._exact, self._seen_images, seed=self._seed)
        tried: list[tuple[float, Quantisation]] = []
        for calibration in CALIBRATIONS:
            self._on_step("calibrating", 1 + len(tried), 1 + len(CALIBRATIONS))
            quantisation = Quantisation(ranges=make_ranges(seen, calibration), form=self._form)
            tried.append((self._disturbance(quantisation), quantisation))
        best = int(np.argmin([disturbance for disturbance, _ in tried]))
        self._calibration = CALIBRATIONS[best]
        self._on_step("calibrating", 1 + len(CALIBRATIONS), 1 + len(CALIBRATIONS))
        return tried[best][1]

    def damage(self, quantisation: Quantisation) -> Damage:
        """What it costs on validation images."""
        exact, logits = self._exact_on_validation, self._logits(quantisation, self._validation.images)
        errors = np.linalg.norm(logits - exact, axis=1) / np.linalg.norm(exact, axis=1)
        return Damage(
            drop_points=self._validation.top1_percent(exact) - self._validation.top1_percent(logits),
            share_far=float(np.mean(~(errors <= _TOLERANCE.relative_error))),
            is_trained=self._is_trained,
        )

    def fewest_in_float(self, quantisation: Quantisation, max_drop: float) -> Choice | None:
        """None in float where that is allowed, else as few of the most disturbing layers as halving finds; None where only all or not even all are enough."""
        damage = self.damage(quantisation)
        if damage.is_allowed(max_drop):
            return Choice(quantisation=quantisation, damage=damage)
        ranked, found = self.ranked(quantisation, self._layers), None
        too_few, enough = 0, len(ranked)
        while enough - too_few > 1:
            count = (too_few + enough) // 2
            tried = _with_float(quantisation, ranked[:count])
            damage = self.damage(tried)
            if damage.is_allowed(max_drop):
                enough, found = count, Choice(quantisation=tried, damage=damage)
            else:
                too_few = count
        return found

    def ranked(self, quantisation: Quantisation, layers: Sequence[str]) -> list[str]:
        """Layers, first the one that disturbs the most when it alone is in int8."""
        disturbances = []
        for done, layer in enumerate(layers):
            self._on_step("measuring sensitivity", done, len(layers))
            others = [other for other in layers if other != layer]
            disturbances.append(self._disturbance(_with_float(quantisation, others)))
        self._on_step("measuring sensitivity", len(layers), len(layers))
        return [layers[place] for place in np.argsort(-np.array(disturbances), kind="stable")]

    def report(self, choice: Choice, max_drop: float) -> QuantisationReport:
        fp32 = self._validation.top1_percent(self._exact_on_validation)
        stay = choice.quantisation.float_layers
        names = layer_names(self._blocks)
        return QuantisationReport(
            form=self._form,
            calibration=self._calibration,
            num_calibration_images=len(self._seen_images),
            float_layers=tuple(layer for layer in names if layer in stay or layer not in self._layers),
            num_layers=len(names),
            fp32_top1_percent=fp32,
            top1_percent=fp32 - choice.damage.drop_points,
            drop_points=choice.damage.drop_points,
            num_validation_images=len(self._validation.labels),
            max_drop=max_drop,
        )

    def _disturbance(self, quantisation: Quantisation) -> float:
        return divergence(self._exact_logits, self._logits(quantisation, self._compared))

    def _logits(self, quantisation: Quantisation, images: Images) -> Logits:
        model = build_graph(self._blocks, weights=self._weights, batch_size=None, precision="int8", quantisation=quantisation)
        return logits_of(model, images)


def divergence(expected: Logits, actual: Logits) -> float:
    """Kullback-Leibler divergence of class probabilities, mean over images, in nats."""
    wanted, given = log_softmax(expected, axis=1), log_softmax(actual, axis=1)
    return float((np.exp(wanted) * (wanted - given)).sum(axis=1).mean())


def _with_float(quantisation: Quantisation, layers: Sequence[str]) -> Quantisation:
    return replace(quantisation, float_layers=frozenset(layers))


def _ignore(step: str, done: int, total: int) -> None: ...
