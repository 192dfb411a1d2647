"""Evaluated architectures whose values may be compared: one set of weights and one state of the latency predictors gave them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nat_deploy.search.objective import is_error
from nat_deploy.search.pareto import non_dominated, non_dominated_ranks
from nat_deploy.spaces import Genes


class MixedVersionsError(ValueError):
    """Values of different supernet weights or latency predictors were about to be compared: a mistake in the program, not of a user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluations:
    """Different architectures with their objective values, all of one supernet version and one state of the latency predictors.

    objectives          names of the columns of `values`
    genes               shape `(n, num_genes)`, canonical, no two rows equal
    values              shape `(n, m)`
    measured            shape `(n,)`: whether the errors were measured with the supernets, or predicted by surrogates fitted on
                        measurements of this version
    supernet_version    age of the weights that every error belongs to; the supernets of all data sets have the same
    num_sittings        how many sittings on devices the predictors of the latencies knew
    """

    objectives: tuple[str, ...]
    genes: Genes
    values: NDArray[np.float64]
    measured: NDArray[np.bool_]
    supernet_version: int
    num_sittings: int = 0

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.genes), len(self.objectives)) or self.measured.shape != (len(self.genes),):
            raise ValueError(
                f"{len(self.genes)} genes need as many rows of {len(self.objectives)} values, but have {self.values.shape}"
            )
        if len(np.unique(self.genes, axis=0)) != len(self.genes):
            raise ValueError("an architecture is there twice; remove duplicates before they are evaluated")

    def __len__(self) -> int:
        return len(self.genes)

    def column(self, objective: str) -> NDArray[np.float64]:
        """Values of one objective, shape `(n,)`."""
        return self.values[:, self.objectives.index(objective)]

    @property
    def errors_percent(self) -> NDArray[np.float64]:
        """Top-1 errors, shape `(n, k)`: one column per error objective."""
        return self.values[:, [place for place, name in enumerate(self.objectives) if is_error(name)]]

    @property
    def mean_error_percent(self) -> NDArray[np.float64]:
        """Mean of the errors over the data sets, shape `(n,)`: the smaller, the more accurate."""
        return np.asarray(self.errors_percent.mean(axis=1))

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Evaluations":
        return Evaluations(
            objectives=self.objectives,
            genes=self.genes[rows],
            values=self.values[rows],
            measured=self.measured[rows],
            supernet_version=self.supernet_version,
            num_sittings=self.num_sittings,
        )

    def merge(self, others: "Evaluations") -> "Evaluations":
        """Both together.

        Raises:
            MixedVersionsError: Their values belong to different weights, predictors or objectives and do not compare.
        """
        if self.supernet_version != others.supernet_version:
            raise MixedVersionsError(
                f"values of supernet versions {self.supernet_version} and {others.supernet_version} do not compare; evaluate again with one"
            )
        if self.num_sittings != others.num_sittings:
            raise MixedVersionsError(
                f"latencies predicted after {self.num_sittings} and {others.num_sittings} sittings do not compare; predict again with one predictor"
            )
        if self.objectives != others.objectives:
            raise MixedVersionsError(f"objectives {self.objectives} and {others.objectives} do not compare")
        return Evaluations(
            objectives=self.objectives,
            genes=np.concatenate([self.genes, others.genes]),
            values=np.concatenate([self.values, others.values]),
            measured=np.concatenate([self.measured, others.measured]),
            supernet_version=self.supernet_version,
            num_sittings=self.num_sittings,
        )

    def front(self) -> "Evaluations":
        """The members that no other member dominates."""
        return self.take(non_dominated(self.values))

    def ranks(self) -> NDArray[np.int64]:
        """Non-dominated rank of each member, 0 for the front, shape `(n,)`."""
        return non_dominated_ranks(self.values)


def not_among(genes: Genes, others: Genes) -> NDArray[np.bool_]:
    """Mask, shape `(n,)`, of the gene strings that are not in `others` and not earlier in `genes`; both canonical."""
    seen = {row.tobytes() for row in np.ascontiguousarray(others, dtype=np.int64)}
    mask = np.zeros(len(genes), dtype=np.bool_)
    for index, row in enumerate(np.ascontiguousarray(genes, dtype=np.int64)):
        key = row.tobytes()
        mask[index] = key not in seen
        seen.add(key)
    return mask
