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


def test_of_two_errors_the_mean_decides_or_their_weights() -> None:
    """The first network is best on one data set, the last on the other, and that in the middle on both together."""
    names = ("error_percent@a", "error_percent@b", "macs")
    problem = make_problem(SPACE, SearchSettings(objectives=names), {})
    genes = SPACE.sample(np.random.default_rng(0), 3)
    errors = np.array([[10.0, 60.0], [30.0, 30.0], [60.0, 10.0]])
    archive = Evaluations(
        objectives=names,
        genes=genes,
        values=problem.values(genes, errors),
        measured=np.ones(3, dtype=np.bool_),
        supernet_version=0,
    )
    assert archive.mean_error_percent.tolist() == [35.0, 30.0, 35.0]
    assert by_preference(problem, archive)[0] == 1
    for weights, first in (((10, 1), 0), ((1, 1), 1), ((1, 10), 2)):
        both = tuple(Weight(objective=name, weight=weight) for name, weight in zip(names[:2], weights, strict=True))
        assert by_preference(replace(problem, weights=both), archive)[0] == first


def test_an_empty_archive_has_an_empty_order(problem: SearchProblem, archive: Evaluations) -> None:
    none = archive.take(np.empty(0, dtype=np.int64))
    assert by_preference(weighted(problem, error_percent=1, macs=1), none).shape == (0,)


def test_preferences_are_read() -> None:
    names = (ERROR, "latency_ms", "macs", "num_params")
    assert parse_preference("accuracy", names) == ()
    assert [(w.objective, w.weight) for w in parse_preference("knee", names)] == [(name, 1.0) for name in names]
    both = ("error_percent@my photos", "error_percent@cifar10", "latency_ms@phone")
    read = parse_preference("error@my photos=2,error@cifar10 = 1, latency@phone=1", both)
    assert [(w.objective, w.weight) for w in read] == list(zip(both, (2.0, 1.0, 1.0), strict=True))
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
        ("error@flowers=1", "one is of 'error_percent@flowers'; choose one of these"),
        ("error@=1", "one is of 'error_percent@'; choose one of these"),
    ],
)
def test_other_preferences_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_preference(text, (ERROR, "latency_ms", "macs"))
