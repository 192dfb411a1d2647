"""Latencies of the networks of a run: measured where the run measured, predicted where a table of its target is there.

A run folder keeps measurements, but no predictions of its archive. So the predictor is fitted again on the latency table of the run's
target, and held against what the run wrote down.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nat_deploy.errors import FileFormatError, NatDeployError
from nat_deploy.predictors.latency import LatencyTable, Prediction, load_table, predictor_from_table
from nat_deploy.profiling import TABLES_FOLDER, table_folders
from nat_deploy.report.network import Cost
from nat_deploy.search import LATENCY, LatencySource, MeasurementRecord, RunFolder
from nat_deploy.search.objective import make_objective
from nat_deploy.spaces import Genes, SearchSpace

GeneString = tuple[int, ...]

_SAME = 0.001  # relative; a fit on the same table gives the same predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Latencies of one objective.

    objective       "latency_ms" or "latency_ms@DEVICE"
    target          key of the target, None where nothing says it
    measurements    what the run measured, in that order
    table           of the target, None where it is not found
    predictor       fitted on the table unless it was given
    factor          what predictions are multiplied by, because measurements of the run showed it
    notes           sentences about the above
    """

    objective: str
    target: str | None
    measurements: tuple[MeasurementRecord, ...]
    table: LatencyTable | None
    predictor: LatencySource | None
    factor: float
    notes: tuple[str, ...]

    def of(self, strings: Sequence[GeneString]) -> dict[GeneString, Cost]:
        """Latency of each gene string for which there is one."""
        found = self._predicted(strings) if self.predictor is not None and strings else {}
        wanted = set(strings)
        return found | {record.genes: measured_cost(record) for record in self.measurements if record.genes in wanted}

    def _predicted(self, strings: Sequence[GeneString]) -> dict[GeneString, Cost]:
        assert self.predictor is not None
        prediction = self.predictor.predict(np.array(strings, dtype=np.int64))
        rows = zip(prediction.value * self.factor, prediction.low * self.factor, prediction.high * self.factor, strict=True)
        return {
            string: Cost(name=self.objective, value=float(value), low=float(low), high=float(high), source="predicted")
            for string, (value, low, high) in zip(strings, rows, strict=True)
        }


def measured_cost(record: MeasurementRecord) -> Cost:
    return Cost(name=record.objective, value=record.median_ms, low=record.low_ms, high=record.high_ms, source="measured")


def read_latencies(
    folder: RunFolder, space: SearchSpace | None, predictors: Mapping[str, LatencySource] | None = None
) -> tuple[Latencies, ...]:
    """One per latency objective or latency budget of the run.

    Args:
        folder: The run.
        space: Its search space, if known.
        predictors: By objective name; those not given are fitted on the table of the run's target.
    """
    names = dict.fromkeys((*folder.settings.objectives, *(budget.objective for budget in folder.settings.budgets)))
    records = folder.measurements.read()
    return tuple(
        _latencies(folder, space, name, tuple(r for r in records if r.objective == name), (predictors or {}).get(name))
        for name in names
        if make_objective(name).source == "latency"
    )


def _latencies(
    folder: RunFolder,
    space: SearchSpace | None,
    objective: str,
    measurements: tuple[MeasurementRecord, ...],
    predictor: LatencySource | None,
) -> Latencies:
    target = measurements[-1].target if measurements else folder.provenance.get("target" + objective.removeprefix(LATENCY))
    measurements = tuple(record for record in measurements if record.target == target)
    notes: list[str] = []
    table = None
    try:
        table = None if space is None or target is None else _find_table(folder, space, target)
        if predictor is None and space is not None and table is not None:
            predictor = predictor_from_table(space, table)
    except NatDeployError as error:
        notes.append(f"The latency table of the run cannot be used: {error}")
    factor = _factor(measurements)
    if predictor is not None and measurements:
        notes += _compare(predictor, measurements)
    if predictor is not None and factor != 1.0:
        notes.append(
            f"Fewer than half of the measurements of {objective} lie in their predicted intervals; "
            f"predictions shown here are multiplied by {factor:.3f}, the middle ratio of measured to predicted."
        )
    if predictor is None and not notes:
        notes.append(f"There is no latency table for {objective} of this run here, so only measured networks have a latency.")
    return Latencies(
        objective=objective,
        target=target,
        measurements=measurements,
        table=table,
        predictor=predictor,
        factor=factor,
        notes=(*notes, *(f"Latency table: {warning}" for warning in (table.warnings if table else ()))),
    )


def _find_table(folder: RunFolder, space: SearchSpace, target: str) -> LatencyTable | None:
    """The run's own table before others.

    Raises:
        FileFormatError: It is broken, or the run names a target that can be none.
    """
    if target in ("", ".", "..") or any(letter in target for letter in "/\\\0"):  # a run folder may come from anybody
        raise FileFormatError(
            f"the target of a run must be a key like 'board.onnxruntime-1.23.fp32.t1.b1', but it is {target!r}; search again"
        )
    for tables in (folder.path / TABLES_FOLDER, *table_folders()):
        path = tables / target / f"{space.name}.json"
        if path.is_file():
            return load_table(path)
    return None


def _factor(measurements: Sequence[MeasurementRecord]) -> float:
    """The search's own rule (`search.anchoring`), applied to all that it measured."""
    if not measurements:
        return 1.0
    held = [record.predicted_low_ms <= record.median_ms <= record.predicted_high_ms for record in measurements]
    return 1.0 if np.mean(held) >= 0.5 else float(np.median([r.median_ms / r.predicted_ms for r in measurements]))


def _compare(predictor: LatencySource, measurements: Sequence[MeasurementRecord]) -> list[str]:
    genes: Genes = np.array([record.genes for record in measurements], dtype=np.int64)
    then = np.array([record.predicted_ms for record in measurements])
    if np.allclose(predictor.predict(genes).value, then, rtol=_SAME):
        return []
    return ["The latency table has changed since the search: latencies predicted here differ from those that it saw."]


def recorded_prediction(measurements: Sequence[MeasurementRecord]) -> Prediction:
    """What had been predicted for networks that were then measured, shape `(n,)`."""
    return Prediction(
        value=np.array([record.predicted_ms for record in measurements], dtype=np.float64),
        low=np.array([record.predicted_low_ms for record in measurements], dtype=np.float64),
        high=np.array([record.predicted_high_ms for record in measurements], dtype=np.float64),
    )
