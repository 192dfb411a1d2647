"""What stands for the supernets while candidates evolve: a surrogate per error objective, each chosen for itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.accuracy import AccuracyMethod, ChosenSurrogate, choose_surrogate, score_predictions
from nat_deploy.search.archive import Evaluations
from nat_deploy.search.genes import to_gene_string, to_genes
from nat_deploy.search.objective import is_error
from nat_deploy.search.records import PredictedErrors, Selection, SurrogateRecord
from nat_deploy.spaces import Genes, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSurrogates:
    """The chosen surrogate of each error objective, in their order."""

    chosen: Mapping[str, ChosenSurrogate]

    def predict(self, genes: Genes) -> NDArray[np.float64]:
        """Errors in percent of `n` gene strings, shape `(n, k)`: one column per error objective."""
        return np.stack([surrogate.predict(genes).mean for surrogate in self.chosen.values()], axis=1)

    def spread(self, genes: Genes) -> NDArray[np.float64]:
        """Standard deviations of these predictions, shape `(n, k)`."""
        return np.stack([surrogate.predict(genes).std for surrogate in self.chosen.values()], axis=1)

    def predicted(self, new: Evaluations) -> tuple[PredictedErrors, ...]:
        """For the records: what was predicted for candidates, and by which methods."""
        return tuple(
            PredictedErrors(
                objective=name,
                method=found.surrogate.method,
                compared=found.scores,
                errors_percent=tuple(map(float, new.column(name))),
            )
            for name, found in self.chosen.items()
        )


def fit_surrogates(
    archive: Evaluations, space: SearchSpace, rng: np.random.Generator, *, methods: tuple[AccuracyMethod, ...]
) -> ErrorSurrogates:
    """For each error objective the method that cross-validation on the archive prefers, fitted on all of it."""
    return ErrorSurrogates(
        chosen={
            name: choose_surrogate(space, archive.genes, archive.column(name), rng, methods=methods)
            for name in archive.objectives
            if is_error(name)
        }
    )


def score_surrogates(selection: Selection, found: Evaluations, space: SearchSpace) -> tuple[SurrogateRecord, ...]:
    """Predictions for the new candidates against what was measured; training points never count."""
    rows = {to_gene_string(row): place for place, row in enumerate(found.genes)}
    new = [rows[string] for string in selection.new]
    macs = space.count(to_genes(selection.new)).macs if new else np.empty(0)
    fewer_macs = -np.asarray(macs, dtype=np.float64)
    return tuple(
        SurrogateRecord(
            objective=predicted.objective,
            method=predicted.method,
            compared=predicted.compared,
            on_new=score_predictions(np.array(predicted.errors_percent), measured),
            macs_kendall_tau=score_predictions(fewer_macs, measured).kendall_tau,
        )
        for predicted in selection.predicted
        for measured in [found.column(predicted.objective)[new]]
    )
