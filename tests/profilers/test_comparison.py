"""Comparing two models round by round, on figures placed by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from profilers.comparison import compare, levels_ms
from profilers.errors import JobError
from profilers.measurement import Measurement
from profilers.sitting import Sitting
from profilers.target import Target

Make = Callable[..., Measurement]


@pytest.fixture
def model(make_measurement: Make) -> Callable[..., Measurement]:
    def make(
        id: str, figures_ms: Sequence[float], *, passes: Sequence[int] | None = None, sitting: str = "s", **more: Any
    ) -> Measurement:
        passes = tuple(range(len(figures_ms)) if passes is None else passes)
        place = Sitting(id=sitting, passes=passes, starts_ms=tuple(range(len(passes))), reference_ms=None, conditions=())
        rounds = tuple((round(1e6 * figure),) * 3 for figure in figures_ms)
        return make_measurement(id, rounds=rounds, sitting=place, **more)

    return make


def test_a_ratio_is_of_rounds_of_the_same_pass(model: Make) -> None:
    # The device slows from pass to pass, far more than the models differ.
    speeds = np.array([1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 3.5])
    compared = compare(model("a", speeds), model("b", 1.1 * speeds))
    assert compared.ratio == pytest.approx(1 / 1.1)
    assert (compared.low, compared.high) == (pytest.approx(1 / 1.1), pytest.approx(1 / 1.1))
    assert compared.num_passes == 7
    assert compared.verdict == "faster"
    assert compare(model("b", 1.1 * speeds), model("a", speeds)).verdict == "slower"


def test_what_lies_within_the_noise_is_no_difference(model: Make) -> None:
    compared = compare(model("a", [1.0, 1.1, 1.0, 1.1, 1.0, 1.1]), model("b", [1.05] * 6))
    assert compared.low < 1 < compared.high
    assert compared.verdict == "no difference"
    assert compared.to_json()["verdict"] == "no difference"


def test_only_passes_that_both_took_count(model: Make) -> None:
    a = model("a", [9.0, 1.0, 1.0, 1.0, 1.0, 1.0], passes=[0, 2, 3, 5, 7, 8])
    b = model("b", [9.0, 2.0, 2.0, 2.0, 2.0, 2.0, 7.0], passes=[1, 2, 3, 5, 7, 8, 9])
    compared = compare(a, b)
    assert (compared.ratio, compared.num_passes) == (0.5, 5)


def test_the_quantile_can_be_chosen(model: Make, make_measurement: Make) -> None:
    rounds = ((1_000_000, 2_000_000, 9_000_000),) * 5
    a = replace(model("a", [1.0] * 5), rounds=rounds)
    b = model("b", [2.0] * 5)
    assert compare(a, b, quantile=0.5).ratio == 1.0
    assert compare(a, b, quantile=0.25).ratio == 0.75


def test_what_cannot_be_compared_is_refused(model: Make, make_measurement: Make) -> None:
    a = model("a", [1.0] * 6)
    with pytest.raises(JobError, match="one sitting"):
        compare(a, model("b", [1.0] * 6, sitting="another"))
    with pytest.raises(JobError, match="one sitting"):
        compare(make_measurement("old"), make_measurement("older"))
    with pytest.raises(JobError, match="share 4"):
        compare(a, model("b", [1.0] * 6, passes=[2, 3, 4, 5, 6, 7]))
    with pytest.raises(JobError, match="target"):
        compare(a, model("b", [1.0] * 6, target=Target("board", "fake", "1", "fp32", threads=2)))


def test_levels_are_free_of_what_a_pass_did_to_all(model: Make) -> None:
    rng = np.random.default_rng(0)
    truth = np.array([1.0, 1.5, 2.0, 3.0])
    passes = np.array([1.0, 1.0, 1.3, 1.3, 1.3, 1.0, 1.0])
    noise = np.exp(0.003 * rng.standard_normal((4, 7)))
    rows = [model(str(n), truth[n] * passes * noise[n]) for n in range(4)]
    np.testing.assert_allclose(levels_ms(rows), truth, rtol=0.005)
    # One model that was slow in one pass is no effect of the pass.
    noise[1, 0] = 5.0
    rows = [model(str(n), truth[n] * passes * noise[n]) for n in range(4)]
    np.testing.assert_allclose(levels_ms(rows), truth, rtol=0.005)
