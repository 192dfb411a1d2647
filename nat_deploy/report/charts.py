"""The charts of a report that need no script: predicted against measured, and how the search went."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nat_deploy.report.latencies import Latencies
from nat_deploy.report.line_chart import ChartPoint, LineChart, Series, drawable
from nat_deploy.report.network import Network
from nat_deploy.report.reading import RunReading
from nat_deploy.report.wording import accuracy, bound, data_of, milliseconds, name_of
from nat_deploy.search import MeasurementRecord, SurrogateRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawing with a title; `drawing` is None where there is nothing to draw, and `note` says why, or how to read it."""

    title: str
    note: str
    drawing: LineChart | None = None


def latency_charts(run: RunReading) -> tuple[Chart, ...]:
    """Predicted against measured latency, one chart per latency objective."""
    return tuple(_latency_chart(run, found) for found in run.latencies)


def _latency_chart(run: RunReading, found: Latencies) -> Chart:
    title = name_of(found.objective)
    if not found.measurements:
        return Chart(title=title, note=f"{title} was not measured in this run.")
    finalists = {network.genes for network in run.finalists}
    records = found.first_measurements
    budget = next((budget for budget in run.settings.budgets if budget.objective == found.objective), None)
    drawing = LineChart(
        name=f"{title}: measured over predicted",
        x_axis="Predicted (ms)",
        y_axis="Measured (ms)",
        series=drawable(
            (
                Series(name="other networks", role="archive", points=_measured(r for r in records if r.genes not in finalists)),
                Series(name="finalists", role="finalist", points=_measured(r for r in records if r.genes in finalists)),
            )
        ),
        diagonal=True,
        level=None if budget is None else (budget.upper, f"budget {bound(budget)}"),
    )
    note = "Bars are 95 % intervals: of the prediction across, of the measured median upwards; each network as it was measured first. On the dotted line, both are equal. Bars that reach the edge go on."
    return Chart(title=title, note=note, drawing=drawing)


def _measured(records: Iterable[MeasurementRecord]) -> tuple[ChartPoint, ...]:
    return tuple(
        ChartPoint(
            x=r.predicted_ms,
            y=r.median_ms,
            x_ends=(r.predicted_low_ms, r.predicted_high_ms),
            y_ends=(r.low_ms, r.high_ms),
            told=f"measured {_interval(r.median_ms, r.low_ms, r.high_ms)}, "
            f"predicted {_interval(r.predicted_ms, r.predicted_low_ms, r.predicted_high_ms)}",
        )
        for r in records
    )


def _interval(value: float, low: float, high: float) -> str:
    return f"{milliseconds(value)} ms ({milliseconds(low)} to {milliseconds(high)})"


def history_charts(run: RunReading) -> tuple[Chart, ...]:
    """Archive, hypervolume and surrogate over the iterations."""
    return (_archive_chart(run), _hypervolume_chart(run), _surrogate_chart(run))


def _archive_chart(run: RunReading) -> Chart:
    title = "Archive over time"
    if not run.iterations:
        return Chart(title=title, note="No archive is complete yet.")
    best = [(i.record.iteration, i.best) for i in run.iterations if i.best is not None]
    middles = [(i.record.iteration, _middle(i.archive)) for i in run.iterations]
    name = "best within budget" if run.settings.budgets else "best"
    series = (
        Series(
            name=name,
            role="front",
            joined=True,
            points=tuple(
                ChartPoint(x=number, y=network.accuracy_percent, told=f"iteration {number}, {name}: {accuracy(network)}")
                for number, network in best
            ),
        ),
        _line("middle of the archive", "archive", middles, digits=2, unit=" %"),
    )
    note = "Each iteration with the weights that the supernet had then."
    if not best:
        note += " Which networks keep the budgets is not known for any of them."
    drawing = LineChart(
        name=title, x_axis="Iteration", y_axis=f"{run.accuracy_names[0]} (%)", series=drawable(series), whole_numbers=True
    )
    return Chart(title=title, note=note, drawing=drawing)


def _middle(archive: Sequence[Network]) -> float:
    """Median accuracy in percent."""
    return 100.0 - float(np.median([network.error_percent for network in archive]))


def _hypervolume_chart(run: RunReading) -> Chart:
    title = "Hypervolume over time"
    later = run.iterations[1:]
    if not later:
        return Chart(title=title, note="No iteration after the initial archive is finished.")
    numbers = [i.record.iteration for i in later]
    volumes = [i.record.hypervolumes for i in later]
    series = (
        _line("before", "archive", zip(numbers, (v.before for v in volumes), strict=True), digits=4),
        _line("kept networks, adapted weights", "finalist", zip(numbers, (v.adapted for v in volumes), strict=True), digits=4),
        _line("with new networks", "front", zip(numbers, (v.after for v in volumes), strict=True), digits=4),
    )
    note = (
        "The share of the box, from nothing to 100 % error and the costs of the largest network, that the archive dominates; more is better. "
        "Before and after the supernet was adapted, and with the new networks of the iteration."
    )
    drawing = LineChart(
        name="Hypervolume", x_axis="Iteration", y_axis="Hypervolume (share of the box)", series=series, whole_numbers=True
    )
    return Chart(title=title, note=note, drawing=drawing)


def _surrogate_chart(run: RunReading) -> Chart:
    title = "Surrogate on new networks"
    scored = [(i.record.iteration, s) for i in run.iterations for s in i.record.surrogates]
    if not scored:
        return Chart(title=title, note="No iteration has used a surrogate yet.")
    surrogates = [
        Series(
            name=f"surrogate{f' of {data_of(error)}' if data_of(error) else ''}",
            role="front",
            points=tuple(_surrogate_point(number, s) for number, s in scored if s.objective == error),
            joined=True,
        )
        for error in run.settings.errors
    ]
    taus = {n: [s.macs_kendall_tau for number, s in scored if number == n] for n, _ in scored}
    rule = _line(
        "more MACs, less error", "archive", ((number, sum(found) / len(found)) for number, found in taus.items()), digits=2
    )
    drawing = LineChart(
        name=title,
        x_axis="Iteration",
        y_axis="Kendall tau",
        series=drawable((*surrogates, rule)),
        whole_numbers=True,
        y_range=(0.0, 1.0),
    )
    note = "Errors predicted for new networks against errors then evaluated: 1 is the right order, 0 is none. Beside it, a rule that needs no surrogate."
    if len(surrogates) > 1:
        note += " Each data set has a surrogate of its own; the rule is the mean over them."
    return Chart(title=title, note=note, drawing=drawing)


def _surrogate_point(number: int, found: SurrogateRecord) -> ChartPoint:
    tau, data = found.on_new.kendall_tau, data_of(found.objective)
    told = f"{found.method}, {found.on_new.count} networks, RMSE {found.on_new.rmse:.2f} points"
    return ChartPoint(x=number, y=tau, told=f"iteration {number}{f', {data}' if data else ''}: tau {tau:.2f}; {told}")


def _line(name: str, role: str, values: Iterable[tuple[int, float]], *, digits: int, unit: str = "") -> Series:
    points = tuple(
        ChartPoint(x=number, y=value, told=f"iteration {number}, {name}: {value:.{digits}f}{unit}") for number, value in values
    )
    return Series(name=name, role=role, points=points, joined=True)
