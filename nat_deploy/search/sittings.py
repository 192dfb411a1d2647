"""Sittings of a run: networks measured together on a device, each sitting once, kept in the run folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nat_deploy.errors import FileFormatError
from nat_deploy.search.genes import to_gene_string
from nat_deploy.search.problem import SearchProblem
from nat_deploy.search.records import MeasurementRecord, SittingRecord
from nat_deploy.search.run_folder import RunFolder
from nat_deploy.spaces import Architecture, Genes


class LatencyMeasurement(Protocol):
    """The part of a measurement that a search needs, in ms: the median and its 95 % interval."""

    @property
    def median_ms(self) -> float: ...

    @property
    def low_ms(self) -> float: ...

    @property
    def high_ms(self) -> float: ...


class Measure(Protocol):
    """Measures on one device."""

    def __call__(self, architectures: Sequence[Architecture], *, sitting: str, exact: bool) -> Sequence[LatencyMeasurement]:
        """Measure architectures interleaved, in order.

        Args:
            sitting: Its name in the run. A sitting that was broken off is asked for again by the same name with the same architectures.
            exact: As exactly as the time allows, or only quickly.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """Measures through `measure`, one callable per latency objective whose device can, and remembers in the run folder.

    A sitting that the folder has is read instead. So a resumed search asks for the same sittings in the same order, and each of its
    steps knows those that came before it, whatever lies in the folder.
    """

    measure: Mapping[str, Measure]
    folder: RunFolder

    def sit(self, problem: SearchProblem, objective: str, genes: Genes, *, name: str, exact: bool = False) -> SearchProblem:
        """Measure gene strings of shape `(n, num_genes)`, all different, in one sitting.

        Returns:
            The problem after it; unchanged if there is nothing to measure.

        Raises:
            FileFormatError: The run folder has a sitting of that name and objective, but with other networks.
        """
        if not len(genes):
            return problem
        known = next((s for s in self.folder.sittings.read() if (s.name, s.objective) == (name, objective)), None)
        if known is None:
            known = self._measured(problem, objective, genes, name, exact)
            self.folder.sittings.append(known)
        elif [record.genes for record in known.measurements] != [to_gene_string(row) for row in genes]:
            raise FileFormatError(
                f"sitting '{name}' in '{self.folder.sittings.path}' must hold the networks that the run chose then, but it does not; "
                "restore the file or start a new run"
            )
        return problem.after(known)

    def sit_on_all(self, problem: SearchProblem, genes: Genes, *, name: str, exact: bool = False) -> SearchProblem:
        """The same networks on every device that can measure, one device after the other."""
        for objective in self.measure:
            problem = self.sit(problem, objective, genes, name=name, exact=exact)
        return problem

    def _measured(self, problem: SearchProblem, objective: str, genes: Genes, name: str, exact: bool) -> SittingRecord:
        source = problem.latency[objective]
        predicted = source.predict(genes)
        found = self.measure[objective]([problem.space.decode(row) for row in genes], sitting=name, exact=exact)
        measurements = tuple(
            MeasurementRecord(
                genes=to_gene_string(row),
                objective=objective,
                target=source.target.key,
                # Intervals come from few rounds; one that leaves its own estimate out is widened to hold it.
                median_ms=measurement.median_ms,
                low_ms=min(measurement.low_ms, measurement.median_ms),
                high_ms=max(measurement.high_ms, measurement.median_ms),
                predicted_ms=float(predicted.value[index]),
                predicted_low_ms=float(predicted.low[index]),
                predicted_high_ms=float(predicted.high[index]),
            )
            for index, (row, measurement) in enumerate(zip(genes, found, strict=True))
        )
        return SittingRecord(name=name, objective=objective, exact=exact, measurements=measurements)
