"""Which networks are measured while a search goes on."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.predictors.latency import Prediction
from nat_deploy.search import Budget, Evaluations, RunFolder, SearchSettings, make_problem
from nat_deploy.search.genes import to_gene_string
from nat_deploy.search.probing import probe_archive, probe_space
from nat_deploy.search.problem import SearchProblem
from nat_deploy.search.sittings import Devices
from nat_deploy.spaces import Genes

from .worlds import SPACE, BiasedPredictor, SyntheticDevice

SETTINGS = SearchSettings(objectives=("error_percent", "latency_ms"), budgets=(Budget(objective="latency_ms", upper=1.5),))


@dataclass(frozen=True)
class UnsureOfSmall(BiasedPredictor):
    """Its intervals are wide at the lowest resolution."""

    def predict(self, genes: Genes) -> Prediction:
        found = super().predict(genes)
        width = np.where(genes[:, 0] == 0, 1.3, 1.02)
        return Prediction(value=found.value, low=found.value / width, high=found.value * width)


def world(tmp_path: Path, settings: SearchSettings = SETTINGS) -> tuple[SearchProblem, Devices, SyntheticDevice]:
    device = SyntheticDevice()
    problem = make_problem(SPACE, settings, {"latency_ms": UnsureOfSmall(device)})
    devices = Devices(measure={"latency_ms": device.measure}, folder=RunFolder.create(tmp_path, settings, {}))
    return problem, devices, device


def archive(problem: SearchProblem, count: int = 50) -> Evaluations:
    genes = np.unique(SPACE.sample(np.random.default_rng(0), 2 * count), axis=0)
    genes = genes[np.random.default_rng(1).permutation(len(genes))[:count]]
    error = 50 - 10 * SyntheticDevice().true_ms(genes)
    return Evaluations(
        objectives=problem.names,
        genes=genes,
        values=problem.values(genes, error),
        measured=np.ones(len(genes), dtype=np.bool_),
        supernet_version=0,
    )


def test_half_may_be_the_answer_and_half_are_what_the_predictor_does_not_know(tmp_path: Path) -> None:
    problem, devices, _ = world(tmp_path)
    members = archive(problem)
    after = probe_archive(problem, devices, members, 4, name="iteration-001")
    (sitting,) = after.sittings
    measured = [record.genes for record in sitting.measurements]
    bounds = problem.bounds("latency_ms", members.genes)
    may_meet = np.flatnonzero(bounds.low <= 1.5)
    best = may_meet[members.column("error_percent")[may_meet].argmin()]
    assert measured[0] == to_gene_string(members.genes[best])
    assert set(measured[:2]) <= {to_gene_string(row) for row in members.genes[may_meet]}
    assert [genes[0] for genes in measured[2:]] == [0, 0]
    assert after.latency["latency_ms"] is not problem.latency["latency_ms"]


def test_nothing_is_measured_twice_and_no_more_than_there_is(tmp_path: Path) -> None:
    problem, devices, device = world(tmp_path)
    members = archive(problem, count=10)
    for number in range(5):
        problem = probe_archive(problem, devices, members, 4, name=f"iteration-{number:03}")
    measured = [record.genes for sitting in problem.sittings for record in sitting.measurements]
    assert sorted(measured) == sorted(to_gene_string(row) for row in members.genes)
    assert device.num_measured == 10
    assert [len(sitting.measurements) for sitting in problem.sittings] == [4, 4, 2]


def test_before_the_search_half_lie_near_the_budget(tmp_path: Path) -> None:
    problem, devices, _ = world(tmp_path)
    after = probe_space(problem, devices, np.random.default_rng(0), 6)
    measured = [record.predicted_ms for record in after.sittings[0].measurements]
    assert measured[:3] == pytest.approx([1.5] * 3, rel=0.02)
    assert [record.genes[0] for record in after.sittings[0].measurements[3:]] == [0, 0, 0]


def test_without_a_budget_only_the_unknown_is_measured(tmp_path: Path) -> None:
    problem, devices, _ = world(tmp_path, replace(SETTINGS, budgets=()))
    after = probe_space(problem, devices, np.random.default_rng(0), 4)
    assert [record.genes[0] for record in after.sittings[0].measurements] == [0] * 4


def test_none_are_measured_if_none_are_wanted(tmp_path: Path) -> None:
    problem, devices, device = world(tmp_path)
    assert probe_space(problem, devices, np.random.default_rng(0), 0) is problem
    assert probe_archive(problem, devices, archive(problem), 0, name="iteration-001") is problem
    assert device.num_measured == 0
