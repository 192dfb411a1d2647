"""The archive that a run, finished or stopped, has come to: that of its last finished iteration."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nat_deploy.search import RunFolder
from nat_deploy.search.genes import to_genes
from nat_deploy.spaces import Genes, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class LastArchive:
    """`genes` of n networks with their `errors_percent` (n,) on the first data set's validation images, by the weights of `version`."""

    iteration: int
    version: int
    genes: Genes
    errors_percent: NDArray[np.float64]

    @staticmethod
    def of(run: RunFolder) -> "LastArchive":
        last = run.read_iterations()[-1]
        known = {
            record.genes: record.errors_percent[0]
            for record in run.evaluations.read()
            if record.supernet_version == last.supernet_version
        }
        errors = np.array([known[string] for string in last.genes])
        return LastArchive(
            iteration=last.iteration, version=last.supernet_version, genes=to_genes(last.genes), errors_percent=errors
        )

    def front_by_macs(self, space: SearchSpace) -> NDArray[np.int64]:
        """Rows that no other beats in both error and MACs, the fewest MACs first."""
        macs, errors = space.count(self.genes).macs, self.errors_percent
        order = np.lexsort((errors, macs))
        return order[[bool((errors[order[:place]] > errors[row]).all()) for place, row in enumerate(order)]]
