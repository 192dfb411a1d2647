import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat_deploy.errors import InputError
from nat_deploy.search import Budget, find_smallest, make_objective, parse_budget

from .worlds import SPACE, SyntheticDevice


@pytest.mark.parametrize(
    ("text", "objective", "upper"),
    [
        ("20ms", "latency_ms", 20.0),
        (" 0.5 s ", "latency_ms", 500.0),
        ("latency=250us", "latency_ms", 0.25),
        ("latency_ms=3ms", "latency_ms", 3.0),
        ("latency@jetson=7ms", "latency_ms@jetson", 7.0),
        ("macs=300M", "macs", 300e6),
        ("macs=1.5g", "macs", 1.5e9),
        ("params=5M", "num_params", 5e6),
        ("memory=4MB", "peak_activation_bytes", 4e6),
        ("memory=512KiB", "peak_activation_bytes", 512 * 1024.0),
    ],
)
def test_reads_what_a_person_writes(text: str, objective: str, upper: float) -> None:
    assert parse_budget(text) == Budget(objective=objective, upper=upper)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "number with a unit"),
        ("20", "unit of budget '20' must be one of us, ms, s"),
        ("-20ms", "number with a unit"),
        ("0ms", "positive"),
        ("20 parsecs", "'parsecs'"),
        ("macs=20ms", "'ms'"),
        ("speed=20ms", "'speed'"),
        ("error_percent=5", "must bound a cost"),
        ("latency@=5ms", "'latency_ms@'"),
        ("9" * 400 + "ms", "positive number"),
    ],
)
def test_refuses_with_a_sentence(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        parse_budget(text)


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert parse_budget(text).upper > 0


def test_unknown_objective_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="error_percent, latency_ms, latency_ms@DEVICE, macs"):
        make_objective("speed")


def test_smallest_of_a_sum_over_layers_is_the_smallest_architecture() -> None:
    genes, value = find_smallest(SPACE, SyntheticDevice().true_ms, np.random.default_rng(0))
    assert SPACE.decode(genes[0]) == SPACE.smallest()
    assert value == pytest.approx(float(SyntheticDevice().true_ms(genes)[0]))


def test_smallest_finds_a_minimum_that_is_not_a_corner() -> None:
    middle = SPACE.sample(np.random.default_rng(3), 1)
    genes, value = find_smallest(SPACE, lambda g: (g != middle).sum(axis=1).astype(float), np.random.default_rng(0))
    assert value == 0
    assert (genes == middle).all()
