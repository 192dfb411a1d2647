"""Latencies of the networks of a run: measured where the run measured, predicted where a table of its target is there.

A run folder keeps measurements, but no predictions of its archive. So the predictor is fitted again on the latency table of the run's
target and on its measurements, as the search does, and held against what the run wrote down.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nat_deploy.errors import FileFormatError, NatDeployError
from nat_deploy.predictors.latency import LatencyTable, Prediction, TablePredictor, load_table
from nat_deploy.profiling import TABLES_FOLDER, table_folders
from nat_deploy.report.network import Cost
from nat_deploy.search import (
    LATENCY,
    LatencySource,
    MeasurementRecord,
    PredictionRecord,
    RefittableSource,
    RunFolder,
    SittingRecord,
    measured_sitting,
)
from nat_deploy.search.objective import make_objective
from nat_deploy.spaces import Genes, SearchSpace

GeneString = tuple[int, ...]

_SAME = 0.001  # relative; a fit on the same table gives the same predictions
_MOVED = 0.05  # a device that is so much slower or faster than its table says is worth a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Latencies of one objective.

    objective       "latency_ms" or "latency_ms@DEVICE"
    target          key of the target, None where nothing says it
    measurements    what the run measured, oldest first; the same network may be there several times
    table           of the target, None where it is not found
    predictor       that of the table, or the one given, refitted on all that was measured
    notes           sentences about the above
    """

    objective: str
    target: str | None
    measurements: tuple[MeasurementRecord, ...]
    table: LatencyTable | None
    predictor: LatencySource | None
    notes: tuple[str, ...]

    @property
    def first_measurements(self) -> tuple[MeasurementRecord, ...]:
        """Of each network the first measurement: the prediction beside it did not know the network."""
        return tuple({record.genes: record for record in reversed(self.measurements)}.values())[::-1]

    def of(self, strings: Sequence[GeneString]) -> dict[GeneString, Cost]:
        """Latency of each gene string for which there is one: the newest measurement, else the prediction."""
        found = self._predicted(strings) if self.predictor is not None and strings else {}
        wanted = set(strings)
        return found | {record.genes: measured_cost(record) for record in self.measurements if record.genes in wanted}

    def _predicted(self, strings: Sequence[GeneString]) -> dict[GeneString, Cost]:
        assert self.predictor is not None
        prediction = self.predictor.predict(np.array(strings, dtype=np.int64))
        rows = zip(prediction.value, prediction.low, prediction.high, strict=True)
        return {
            string: Cost(name=self.objective, value=float(value), low=float(low), high=float(high), source="predicted")
            for string, (value, low, high) in zip(strings, rows, strict=True)
        }


def measured_cost(record: MeasurementRecord) -> Cost:
    return Cost(name=record.objective, value=record.median_ms, low=record.low_ms, high=record.high_ms, source="measured")


def predicted_cost(record: PredictionRecord) -> Cost:
    return Cost(
        name=record.objective,
        value=record.predicted_ms,
        low=record.predicted_low_ms,
        high=record.predicted_high_ms,
        source="predicted",
    )


def read_latencies(
    folder: RunFolder, space: SearchSpace | None, predictors: Mapping[str, RefittableSource] | None = None
) -> tuple[Latencies, ...]:
    """One per latency objective or latency budget of the run.

    Args:
        folder: The run.
        space: Its search space, if known.
        predictors: By objective name, as they were before the search; those not given are fitted on the table of the run's target.
    """
    names = dict.fromkeys((*folder.settings.objectives, *(budget.objective for budget in folder.settings.budgets)))
    sittings = folder.sittings.read()
    return tuple(
        _latencies(folder, space, name, tuple(s for s in sittings if s.objective == name), (predictors or {}).get(name))
        for name in names
        if make_objective(name).source == "latency"
    )


def _latencies(
    folder: RunFolder,
    space: SearchSpace | None,
    objective: str,
    sittings: tuple[SittingRecord, ...],
    source: RefittableSource | None,
) -> Latencies:
    measurements = tuple(record for sitting in sittings for record in sitting.measurements)
    target = measurements[-1].target if measurements else folder.provenance.get("target" + objective.removeprefix(LATENCY))
    notes: list[str] = []
    table, predictor = None, None
    try:
        table = None if space is None or target is None else _find_table(folder, space, target)
        if source is None and space is not None and table is not None:
            source = TablePredictor.of(space, table, statistic="median")
        if source is not None:
            predictor = source.refit([measured_sitting(sitting) for sitting in sittings])
            notes += _compare(source, predictor, sittings)
    except NatDeployError as error:
        notes.append(f"The latency table of the run cannot be used: {error}")
    if predictor is None and not notes:
        notes.append(f"There is no latency table for {objective} of this run here, so only measured networks have a latency.")
    return Latencies(
        objective=objective,
        target=target,
        measurements=measurements,
        table=table,
        predictor=predictor,
        notes=(*notes, *(f"{_table_name(objective)}: {warning}" for warning in (table.warnings if table else ()))),
    )


def _table_name(objective: str) -> str:
    """In the notes; the whole key of the target stands in the provenance."""
    device = objective.removeprefix(LATENCY).removeprefix("@")
    return f"Latency table of {device}" if device else "Latency table"


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


def _compare(source: LatencySource, predictor: LatencySource, sittings: Sequence[SittingRecord]) -> Iterator[str]:
    """What a reader must know of the predictor before and after the run's sittings."""
    if not sittings:
        return
    first = sittings[0].measurements
    before = source.predict(_genes(first)).value
    if not np.allclose(before, [record.predicted_ms for record in first], rtol=_SAME):
        yield "The latency table has changed since the search: latencies predicted here differ from those that it saw."
    genes = _genes([record for sitting in sittings for record in sitting.measurements])
    moved = float(np.median(predictor.predict(genes).value / source.predict(genes).value))
    if abs(moved - 1) > _MOVED:
        yield (
            f"In this run {sittings[0].objective} was {moved:.2f} times what its latency table says; "
            "the search learned that while it measured, and predictions shown here know it."
        )


def _genes(records: Sequence[MeasurementRecord]) -> Genes:
    return np.array([record.genes for record in records], dtype=np.int64)


def recorded_prediction(measurements: Sequence[MeasurementRecord]) -> Prediction:
    """What had been predicted for networks that were then measured, shape `(n,)`."""
    return Prediction(
        value=np.array([record.predicted_ms for record in measurements], dtype=np.float64),
        low=np.array([record.predicted_low_ms for record in measurements], dtype=np.float64),
        high=np.array([record.predicted_high_ms for record in measurements], dtype=np.float64),
    )
