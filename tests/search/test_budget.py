import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat_deploy.errors import InputError
from nat_deploy.search import Budget, assign_budgets, find_smallest, make_objective, parse_budget, parse_latency_budget

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


@pytest.mark.parametrize(
    ("devices", "texts", "budgets"),
    [
        (["cpu"], ["20ms"], {"latency_ms": 20}),
        (["cpu"], ["cpu=20ms"], {"latency_ms": 20}),
        (["cpu", "phone"], ["20ms"], {"latency_ms@cpu": 20, "latency_ms@phone": 20}),
        (["cpu", "phone"], ["phone=35ms", "20ms"], {"latency_ms@cpu": 20, "latency_ms@phone": 35}),
        (["cpu", "phone"], [" phone = 0.035 s"], {"latency_ms@phone": 35}),
        (["cpu", "phone"], [], {}),
    ],
)
def test_a_latency_without_a_name_is_for_devices_that_have_none_of_their_own(
    devices: list[str], texts: list[str], budgets: dict[str, float]
) -> None:
    macs = Budget(objective="macs", upper=5.0)
    found = assign_budgets([macs, *map(parse_latency_budget, texts)], devices)
    assert {budget.objective: pytest.approx(budget.upper) for budget in found} == {**budgets, "macs": 5.0}
    assert [budget.objective for budget in found] == [*budgets, "macs"]


@pytest.mark.parametrize(
    ("devices", "texts", "said"),
    [
        (["cpu"], ["phon=3ms"], "one of the devices of the search, cpu, but it is for 'phon'"),
        (["cpu"], ["3ms", "4ms"], "3ms and 4ms"),
        (["cpu", "phone"], ["phone=3ms", "phone=4ms"], "'phone' has 3ms and 4ms"),
        (["cpu", "phone"], ["phone=3ms", "4ms", "cpu=5ms"], "each has one; remove 4ms"),
        (["cpu"], ["=3ms"], "phone=35ms"),
        (["cpu"], ["cpu=3"], "unit"),
        (["cpu"], ["cpu="], "number with a unit"),
        (["cpu"], ["macs=3M"], "'M'"),
        (["cpu"], ["macs=3ms"], "but it is for 'macs'"),
    ],
)
def test_latency_budgets_that_fit_no_device_are_refused(devices: list[str], texts: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        assign_budgets([parse_latency_budget(text) for text in texts], devices)


@given(st.text(max_size=20))
def test_any_latency_budget_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert parse_latency_budget(text).upper > 0


def test_unknown_objective_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="error_percent, error_percent@DATA, latency_ms, latency_ms@DEVICE, macs"):
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
