"""Whether an exported model computes what the network computes.

Relative error is compared, not `allclose`: an untrained MobileNet gives logits of about 1e-10, and with an absolute tolerance
anything agrees with them. For the same reason a network whose logits hardly differ is refused instead of compared.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nat_deploy.errors import ParityError
from nat_deploy.export.formats import ModelFormat, find_format
from nat_deploy.export.inference import Images, Logits, infer
from nat_deploy.onnx_graphs import Precision

SPREAD_FLOOR = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far outputs may be apart.

    relative_error   of an image
    outliers         share of the images that may exceed it, by any finite amount
    top1_agreement   share of the images that both put into the same class, at least
    """

    relative_error: float
    top1_agreement: float
    outliers: float = 0.0

    @staticmethod
    def of(precision: Precision) -> "Tolerance":
        """What tells a right graph from a wrong one; how much accuracy int8 may cost is for the caller to say."""
        match precision:
            case "fp32":  # float32 alone reaches 1.5e-5 on deep networks with random weights
                return Tolerance(relative_error=1e-4, top1_agreement=0.9)
            case "fp16":  # typically 1e-3; but of a network that was hardly trained, 1 of 16 images of noise was 0.07 away
                return Tolerance(relative_error=5e-2, top1_agreement=0.9, outliers=0.125)
            case "int8":
                # Trained networks had medians of 0.03 to 0.23, but rare images drive gates to their edges and reach 2.
                return Tolerance(relative_error=0.5, top1_agreement=0.8, outliers=0.1)


# An int8 graph beside the same rounding in torch, node by node: many images agree to float32's last digits. But a value on the edge of a step may fall to either side,
# which a network that int8 disturbs much makes larger: of one, 18 of 64 images were further than 0.05 away; of another, 7 of 10 further than 0.02.
SIMULATION_TOLERANCE = Tolerance(relative_error=0.1, top1_agreement=0.8, outliers=0.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """How far the outputs of a model are from those of the network, over `num_images` images.

    relative_error   ‖model - network‖ / ‖network‖ of the worst image
    cosine           cosine between both outputs of the worst image
    top1_agreement   share of images that both put into the same class
    spread           standard deviation of the network's logits across images (mean over classes), and across classes (mean over
                     images), the smaller of the two
    """

    num_images: int
    images: str
    runtime: str
    relative_error: float
    median_relative_error: float
    cosine: float
    top1_agreement: float
    spread: float
    tolerance: float


def run_model(path: Path, images: Images, model_format: ModelFormat | None = None) -> Logits:
    """Logits (n, classes) that the runtime of a format, by default ONNX, computes from n images, at least 2.

    Where the batch is open the last image goes alone, which proves it.

    Raises:
        ParityError: The runtime refuses the model.
    """
    model_format = model_format or find_format("onnx")
    if model_format.layout == "NHWC":
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    size = model_format.batch_size or len(images) - 1
    outputs = infer(path, images, batch_size=size, runtime=model_format.runtime)
    return np.concatenate([logits for (logits,) in (by_name.values() for by_name in outputs)])


def compare(
    actual: Logits,
    expected: Logits,
    *,
    tolerance: Tolerance | None = None,
    images: str = "random",
    runtime: str = "onnxruntime",
) -> ParityReport:
    """Compare logits of a model with those of the network, both (n, classes) with n of at least 2.

    Args:
        actual: What the model gave.
        expected: What the network gave, best in float64.
        tolerance: How far they may be apart; by default that of fp32.
        images: What the images were, for people.
        runtime: What ran the model, for people.

    Raises:
        ParityError: The network's logits hardly differ, or the model's are not finite, of another shape, or too far away.
    """
    if expected.ndim != 2 or len(expected) < 2:
        raise ValueError(f"logits must be (n, classes) of at least 2 images, but are {expected.shape}")
    tolerance = tolerance or Tolerance.of("fp32")
    spread = _check_alive(expected)
    if actual.shape != expected.shape:
        raise ParityError(
            f"the model must give logits {expected.shape}, but gives {actual.shape}; the export is wrong and was not kept"
        )
    actual = actual.astype(np.float64)
    errors = np.linalg.norm(actual - expected, axis=1) / np.linalg.norm(expected, axis=1)
    agrees = errors <= tolerance.relative_error  # false for NaN, as it must be
    if np.mean(~agrees) > tolerance.outliers or not np.isfinite(errors).all():
        raise ParityError(
            f"the model must agree with the network to a relative error of {tolerance.relative_error:g}, but {np.sum(~agrees)} of {len(errors)} "
            f"images differ more (worst: {errors.max():.2g}); the export was not kept"
        )
    agreement = float(np.mean(actual.argmax(axis=1) == expected.argmax(axis=1)))
    if agreement < tolerance.top1_agreement:
        raise ParityError(
            f"the model must put at least {tolerance.top1_agreement:.0%} of the images into the network's class, but it does so "
            f"with {agreement:.0%} of {len(errors)}; the export was not kept"
        )
    return ParityReport(
        num_images=len(errors),
        images=images,
        runtime=runtime,
        relative_error=float(errors.max()),
        median_relative_error=float(np.median(errors)),
        cosine=float(_cosines(actual, expected).min()),
        top1_agreement=agreement,
        spread=spread,
        tolerance=tolerance.relative_error,
    )


def _check_alive(logits: Logits) -> float:
    """The spread of logits that are worth comparing; otherwise `ParityError`."""
    if not np.isfinite(logits).all():
        raise ParityError("the network must give finite logits, but gives infinite ones or NaN; give trained weights")
    spread = float(min(logits.std(axis=0).mean(), logits.std(axis=1).mean()))
    floor = SPREAD_FLOOR * max(1.0, float(np.sqrt(np.mean(logits**2))))
    if spread < floor:
        raise ParityError(
            f"the network's logits must differ between images and classes by at least {floor:.2g}, or comparing them is idle, "
            f"but they differ by {spread:.2g}; give trained weights, or calibrate the batch norms with --calibrate DIR"
        )
    return spread


def _cosines(actual: Logits, expected: Logits) -> Logits:
    lengths = np.linalg.norm(actual, axis=1) * np.linalg.norm(expected, axis=1)
    cosines: Logits = (actual * expected).sum(axis=1) / lengths
    return cosines
