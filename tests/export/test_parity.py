"""What agrees, what does not, and what is not worth comparing."""

from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import ParityError
from nat_deploy.export import Tolerance, compare, run_model

EXPECTED = np.array([[3.0, 4.0], [0.0, 5.0], [6.0, 8.0]])
LOOSE = Tolerance(relative_error=0.01, top1_agreement=0.0)


def test_errors_placed_by_hand():
    actual = EXPECTED.copy()
    actual[0] += [0.003, 0.004]  # length 0.005 of 5
    actual[2] += [0.008, -0.006]  # length 0.01 of 10, across: the cosine is that of a right triangle
    report = compare(actual, EXPECTED, tolerance=LOOSE)
    assert report.num_images == 3
    assert report.relative_error == pytest.approx(0.001)
    assert report.median_relative_error == pytest.approx(0.001)
    assert report.cosine == pytest.approx(1 / np.sqrt(1 + 1e-6))
    assert report.top1_agreement == 1


def test_top1_agreement_counts_images():
    close = np.array([[1.0, 1.001], [0.0, 1.0]])
    report = compare(close + np.array([[0.002, 0.0], [0.0, 0.0]]), close, tolerance=LOOSE)
    assert report.top1_agreement == 0.5


def test_the_spread_is_the_smaller_one_placed_by_hand():
    logits = np.array([[0.0, 2.0], [0.0, 4.0]])  # across images 0 and 1, across classes 1 and 2
    assert compare(logits, logits).spread == pytest.approx(0.5)


def test_too_large_an_error_is_refused_with_its_size():
    with pytest.raises(ParityError, match=r"relative error of 0\.0001, but 1 of 3 images differ more \(worst: 0\.002\)"):
        compare(EXPECTED * [[1.0], [1.002], [1.0]], EXPECTED)


def test_another_class_for_too_many_images_is_refused():
    close = np.array([[1.0, 1.001], [0.0, 1.0]])
    flipped = close + np.array([[0.002, 0.0], [0.0, 0.0]])
    with pytest.raises(ParityError, match=r"at least 60% of the images .* with 50% of 2"):
        compare(flipped, close, tolerance=Tolerance(relative_error=0.01, top1_agreement=0.6))


def test_outliers_are_allowed_in_their_share_and_only_finite_ones():
    tolerance = Tolerance(relative_error=0.01, top1_agreement=0.0, outliers=0.34)
    actual = EXPECTED * [[1.0], [3.0], [1.0]]
    assert compare(actual, EXPECTED, tolerance=tolerance).relative_error == pytest.approx(2)
    for worse in (EXPECTED * [[2.0], [3.0], [1.0]], EXPECTED * [[1.0], [np.nan], [1.0]]):
        with pytest.raises(ParityError, match="images differ more"):
            compare(worse, EXPECTED, tolerance=tolerance)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_each_precision_has_a_tolerance(precision):
    tolerance = Tolerance.of(precision)
    assert 0 < tolerance.relative_error < 1
    assert tolerance.top1_agreement >= 0.8


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused(value):
    actual = EXPECTED.copy()
    actual[1, 1] = value
    with pytest.raises(ParityError, match="1 of 3 images differ more"):
        compare(actual, EXPECTED)


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(ParityError, match=r"must give logits \(3, 2\), but gives \(3, 1\)"):
        compare(EXPECTED[:, :1], EXPECTED)


@pytest.mark.parametrize(
    "dead",
    [
        1e-10 * np.random.default_rng(0).standard_normal((4, 10)),
        np.tile(np.arange(10.0), (4, 1)),  # the same for every image
        np.tile(np.arange(4.0)[:, None], (1, 10)),  # the same for every class
        1e6 + np.random.default_rng(0).standard_normal((4, 10)),  # alive, but drowned in a constant
    ],
    ids=["vanished", "blind to images", "blind to classes", "drowned"],
)
def test_a_network_that_tells_nothing_apart_is_refused_even_if_equal(dead):
    with pytest.raises(ParityError, match="must differ between images and classes"):
        compare(dead, dead)


def test_a_network_that_is_not_finite_is_refused():
    with pytest.raises(ParityError, match="must give finite logits"):
        compare(EXPECTED, np.full((3, 2), np.nan))


def test_one_image_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="at least 2 images"):
        compare(EXPECTED[:1], EXPECTED[:1])


def test_a_file_that_no_runtime_reads_fails_the_comparison(tmp_path: Path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ParityError, match="must run in onnxruntime"):
        run_model(path, np.zeros((2, 3, 8, 8), np.float32))
