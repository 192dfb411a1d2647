"""Latencies measured for a run: each architecture once, kept in the run folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nat_deploy.search.problem import LatencySource
from nat_deploy.search.run_folder import GeneString, MeasurementRecord, RunFolder
from nat_deploy.spaces import Architecture, Genes, SearchSpace


class LatencyMeasurement(Protocol):
    """The part of a measurement that a search needs, in ms: the median and its 95 % interval."""

    @property
    def median_ms(self) -> float: ...

    @property
    def low_ms(self) -> float: ...

    @property
    def high_ms(self) -> float: ...


Measure = Callable[[Sequence[Architecture]], Sequence[LatencyMeasurement]]
"""Measures architectures on one device, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLatencies:
    """Measures through `measure`, one callable per latency objective, and remembers in the run folder."""

    space: SearchSpace
    latency: Mapping[str, LatencySource]
    measure: Mapping[str, Measure]
    folder: RunFolder

    def known(self, objective: str) -> dict[GeneString, MeasurementRecord]:
        """What was measured so far on the objective's target."""
        target = self.latency[objective].target.key
        return {r.genes: r for r in self.folder.measurements.read() if r.objective == objective and r.target == target}

    def measured(self, objective: str, genes: Genes) -> list[MeasurementRecord]:
        """Measurements of gene strings of shape `(n, num_genes)`, in order; only what is not known is measured now."""
        known = self.known(objective)
        missing = [row for row in genes if to_gene_string(row) not in known]
        if missing:
            found = self.measure[objective]([self.space.decode(row) for row in missing])
            for record in self._records(objective, np.stack(missing), found):
                self.folder.measurements.append(record)
                known[record.genes] = record
        return [known[to_gene_string(row)] for row in genes]

    def _records(self, objective: str, genes: Genes, found: Sequence[LatencyMeasurement]) -> list[MeasurementRecord]:
        predicted = self.latency[objective].predict(genes)
        return [
            MeasurementRecord(
                genes=to_gene_string(row),
                objective=objective,
                target=self.latency[objective].target.key,
                median_ms=measurement.median_ms,
                low_ms=measurement.low_ms,
                high_ms=measurement.high_ms,
                predicted_ms=float(predicted.value[index]),
                predicted_low_ms=float(predicted.low[index]),
                predicted_high_ms=float(predicted.high[index]),
            )
            for index, (row, measurement) in enumerate(zip(genes, found, strict=True))
        ]


def to_gene_string(row: Genes) -> GeneString:
    """One gene string, shape `(num_genes,)`, as a value that files and sets can hold."""
    return tuple(int(gene) for gene in row)


def to_genes(strings: Sequence[GeneString]) -> Genes:
    """Shape `(n, num_genes)`."""
    return np.array(strings, dtype=np.int64)
