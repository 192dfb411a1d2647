"""Which network of a front is wanted, on values placed by hand."""

from dataclasses import replace

import numpy as np
import pytest

from nat_deploy.errors import InputError
from nat_deploy.search.archive import Evaluations
from nat_deploy.search.objective import ERROR
from nat_deploy.search.preference import by_preference
from nat_deploy.search.problem import SearchProblem, make_problem
from nat_deploy.search.settings import SearchSettings
from nat_deploy.search.weight import Weight, parse_preference
from nat_deploy.spaces import make_space

SPACE = make_space("ofa-mbv3-w0.35", resolutions=(32, 48), num_classes=10)
NAMES = (ERROR, "macs", "num_params")


@pytest.fixture
def problem() -> SearchProblem:
    return make_problem(SPACE, SearchSettings(objectives=NAMES), {})


@pytest.fixture
def archive(problem: SearchProblem) -> Evaluations:
    """From small and wrong to large and right; the third has a bend: almost as right as the largest, at a third of the way in MACs."""
    genes = SPACE.sample(np.random.default_rng(0), 200)
    macs = SPACE.count(genes).macs
    at = (0.0, 0.15, 0.3, 0.65, 1.0)
    rows = [int(np.abs(macs - (macs.min() + share * (macs.max() - macs.min()))).argmin()) for share in at]
    errors = np.array([60.0, 45.0, 22.0, 21.0, 20.0])
    chosen = genes[rows]
    return Evaluations(
        objectives=NAMES,
        genes=chosen,
        values=problem.values(chosen, errors),
        measured=np.ones(5, dtype=np.bool_),
        supernet_version=0,
    )


def weighted(problem: SearchProblem, **weights: float) -> SearchProblem:
    return replace(problem, weights=tuple(Weight(objective=name, weight=value) for name, value in weights.items()))


def test_without_weights_the_most_accurate_is_first(problem: SearchProblem, archive: Evaluations) -> None:
    assert by_preference(problem, archive)[0] == 4


def test_the_knee_is_the_bend(problem: SearchProblem, archive: Evaluations) -> None:
    assert by_preference(weighted(problem, error_percent=1, macs=1), archive)[0] == 2


def test_weights_move_the_answer_along_the_front(problem: SearchProblem, archive: Evaluations) -> None:
    assert by_preference(weighted(problem, error_percent=100, macs=1), archive)[0] == 4
    assert by_preference(weighted(problem, error_percent=1, macs=100), archive)[0] == 0


def test_only_the_ratio_of_weights_counts(problem: SearchProblem, archive: Evaluations) -> None:
    small, large = (by_preference(weighted(problem, error_percent=2 * f, macs=f), archive) for f in (1, 1000))
    assert small.tolist() == large.tolist()


def test_a_dominated_network_is_never_first(problem: SearchProblem, archive: Evaluations) -> None:
    worse = replace(archive, values=archive.values + np.array([30.0, 0, 0]) * (np.arange(5) == 2)[:, None])
    assert by_preference(weighted(problem, error_percent=1, macs=1), worse)[0] != 2


def test_an_empty_archive_has_an_empty_order(problem: SearchProblem, archive: Evaluations) -> None:
    none = archive.take(np.empty(0, dtype=np.int64))
    assert by_preference(weighted(problem, error_percent=1, macs=1), none).shape == (0,)


def test_preferences_are_read() -> None:
    names = (ERROR, "latency_ms", "macs", "num_params")
    assert parse_preference("accuracy", names) == ()
    assert [(w.objective, w.weight) for w in parse_preference("knee", names)] == [(name, 1.0) for name in names]
    read = parse_preference("error=2, latency=.5,params=1", names)
    assert [(w.objective, w.weight) for w in read] == [(ERROR, 2.0), ("latency_ms", 0.5), ("num_params", 1.0)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fast", "a preference must be accuracy, knee, or weights such as"),
        ("error=2,", "a preference must be"),
        ("error=-1", "a preference must be"),
        ("error=0", "a weight must be a positive number"),
        ("error=1,memory=1", "weights must be of objectives of the search"),
        ("error=1,error=2", "each objective may have one weight"),
    ],
)
def test_other_preferences_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_preference(text, (ERROR, "latency_ms", "macs"))
