"""Ranges: what was seen, and which part of it is kept."""

import numpy as np
import pytest

from nat_deploy.export.ranges import CALIBRATIONS, Seen, make_ranges, observe, rounding_error
from nat_deploy.onnx_graphs import build_graph
from nat_deploy.spaces import Block

OUTLIER = np.append(np.linspace(-1, 1, 20001, dtype=np.float32), np.float32(100.0))


def test_extremes_and_samples_placed_by_hand(rng):
    nothing = Seen(low=0.0, high=0.0, sample=np.empty(0, np.float32))
    seen = nothing.extended(np.array([[1.0, 2.0]], np.float32), rng, 5).extended(np.array([-3.0], np.float32), rng, 2)
    assert (seen.low, seen.high) == (-3.0, 2.0)
    assert len(seen.sample) == 7
    assert set(seen.sample[:5]) <= {1.0, 2.0}
    assert set(seen.sample[5:]) == {-3.0}


def test_what_each_calibration_keeps():
    seen = Seen(low=-1.0, high=100.0, sample=OUTLIER)
    kept = {calibration: seen.range(calibration) for calibration in CALIBRATIONS}
    assert (kept["min-max"].low, kept["min-max"].high) == (-1.0, 100.0)
    assert kept["percentile"].high == pytest.approx(1.0, abs=0.01)
    assert kept["percentile"].low == pytest.approx(-1.0, abs=0.01)
    errors = {name: rounding_error(OUTLIER, span.low, span.high) for name, span in kept.items()}
    assert errors["mse"] <= 1.001 * min(errors.values())


@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_a_tensor_that_is_always_zero_has_a_range(calibration):
    span = Seen(low=0.0, high=0.0, sample=np.zeros(100, np.float32)).range(calibration)
    assert (span.low, span.high) == (0.0, 0.0)


def test_rounding_error_placed_by_hand():
    """Between 0 and 255 whole numbers are kept, halves are off by a half, what lies outside by its distance."""
    assert rounding_error(np.array([0.0, 7.0, 255.0], np.float32), 0.0, 255.0) == 0
    assert rounding_error(np.array([0.5, 256.0], np.float32), 0.0, 255.0) == pytest.approx((0.25 + 1) / 2)


def test_every_tensor_of_a_model_is_observed(rng):
    chain = [
        Block(kind="conv", in_channels=3, out_channels=4, in_size=8, kernel_size=3, activation="hswish"),
        Block(kind="pool", in_channels=4, out_channels=4, in_size=8),
        Block(kind="linear", in_channels=4, out_channels=5, in_size=1, bias=True),
    ]
    model = build_graph(chain, rng=rng, batch_size=None)
    images = rng.standard_normal((7, 3, 8, 8), dtype=np.float32)
    ranges = make_ranges(observe(model, images, seed=0), "min-max")
    assert set(ranges) == {"images", *(node.output[0] for node in model.graph.node)}
    assert (ranges["images"].low, ranges["images"].high) == pytest.approx((images.min(), images.max()))
    assert 0 <= ranges["0.conv.gate"].low <= ranges["0.conv.gate"].high <= 1
    assert ranges["0.conv.hswish"].low >= -0.38
