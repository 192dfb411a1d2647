"""The charts of a report as Plotly figures.

Colours are names of CSS variables, `var(--front)`; the page puts in the values of the theme that the reader's system asks for. All text that
a run brings along is escaped, since Plotly reads some HTML in its texts.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nat_deploy.report.latencies import Latencies
from nat_deploy.report.network import Cost, Network
from nat_deploy.report.reading import RunReading
from nat_deploy.report.wording import accuracy, architecture_lines, axis_of, bound, cost_text, name_of, scaled
from nat_deploy.search import MeasurementRecord, non_dominated

_HEIGHT = 420


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A Plotly figure; `figure` is None where there is nothing to draw, and `note` says why, or how to read it."""

    key: str
    title: str
    figure: Any | None
    note: str


def front_charts(run: RunReading) -> tuple[Chart, ...]:
    """Accuracy over each cost: archive, front, finalists, budget."""
    return tuple(_front_chart(run, name) for name in run.cost_names)


def _front_chart(run: RunReading, cost_name: str) -> Chart:
    on_front = {network.genes for network in run.front}
    finalists = {network.genes for network in run.finalists}
    rest = _points([n for n in run.archive if n.genes not in on_front | finalists], cost_name)
    front = _points([n for n in run.front if n.genes not in finalists], cost_name)
    best = _points(run.finalists, cost_name)
    chart = _figure(axis_of(cost_name), "Top-1 accuracy (%)")
    chart.add_scatter(**_markers(rest, "archive", "archive", size=6, opacity=0.55))
    chart.add_scatter(**_best_line((*rest, *front, *best)))
    chart.add_scatter(**_markers(front, "front", "front (all objectives)", size=7, opacity=0.6))
    chart.add_scatter(**_markers(best[1:], "finalist", "finalists", size=11, symbol="diamond", with_interval=True))
    chart.add_scatter(**_markers(best[:1], "chosen", "chosen", size=16, symbol="star", with_interval=True))
    budget = next((budget for budget in run.settings.budgets if budget.objective == cost_name), None)
    if budget is not None:
        chart.add_vline(
            x=scaled(cost_name, budget.upper),
            line={"color": "var(--budget)", "dash": "dash", "width": 2},
            annotation={"text": f"budget {bound(budget)}", "font": {"color": "var(--budget)"}},
            annotation_position="top left",
        )
    chart.data = tuple(trace for trace in chart.data if len(trace.x))
    note = "The line joins networks that no other one shown beats in this cost and in accuracy; the front holds those that none beats in all objectives."
    return Chart(key=f"front:{cost_name}", title=name_of(cost_name), figure=chart, note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    network: Network
    cost: Cost

    @property
    def x(self) -> float:
        return scaled(self.cost.name, self.cost.value)


def _points(networks: Iterable[Network], cost_name: str) -> tuple[_Point, ...]:
    return tuple(_Point(network=network, cost=cost) for network in networks if (cost := network.cost(cost_name)) is not None)


def _markers(
    points: Sequence[_Point],
    role: str,
    name: str,
    *,
    size: int,
    symbol: str = "circle",
    opacity: float = 1.0,
    with_interval: bool = False,
) -> dict[str, Any]:
    costs = [point.cost for point in points]
    trace: dict[str, Any] = {
        "x": [point.x for point in points],
        "y": [point.network.accuracy_percent for point in points],
        "mode": "markers",
        "name": name,
        "marker": {"color": f"var(--{role})", "size": size, "symbol": symbol, "opacity": opacity},
        "hovertext": [hover(point.network) for point in points],
        "hoverinfo": "text",
    }
    if with_interval and any(cost.source != "counted" for cost in costs):
        trace["error_x"] = _error_bars([(cost.low, cost.value, cost.high) for cost in costs], role)
    return trace


def _best_line(points: Sequence[_Point]) -> dict[str, Any]:
    """The networks that no other one shown beats in both, from left to right."""
    values = np.array([(point.x, point.network.error_percent) for point in points], dtype=np.float64).reshape(-1, 2)
    on_line = [point for point, best in zip(points, non_dominated(values), strict=True) if best]
    ordered = sorted(on_line, key=lambda point: point.x)
    return {
        "x": [point.x for point in ordered],
        "y": [point.network.accuracy_percent for point in ordered],
        "mode": "lines",
        "line": {"color": "var(--front)", "width": 2, "shape": "hv"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def hover(network: Network) -> str:
    """Everything about a network, for Plotly's hover box."""
    costs = (f"{name_of(cost.name)}: {cost_text(cost)}" for cost in network.costs)
    lines = (f"accuracy {accuracy(network)}", *costs, *architecture_lines(network))
    return "<br>".join(html.escape(line) for line in lines)


def latency_charts(run: RunReading) -> tuple[Chart, ...]:
    """Predicted against measured latency, one chart per latency objective."""
    return tuple(_latency_chart(run, found) for found in run.latencies)


def _latency_chart(run: RunReading, found: Latencies) -> Chart:
    key, title = f"latency:{found.objective}", name_of(found.objective)
    if not found.measurements:
        return Chart(key=key, title=title, figure=None, note=f"{title} was not measured in this run.")
    finalists = {network.genes: network for network in run.finalists}
    records = found.first_measurements
    first = [record for record in records if record.genes in finalists]
    others = [record for record in records if record.genes not in finalists]
    ends = [end for r in records for end in (r.predicted_low_ms, r.predicted_high_ms, r.low_ms, r.high_ms)]
    span = [min(ends) * 0.97, max(ends) * 1.03]
    chart = _figure("Predicted (ms)", "Measured (ms)")
    chart.add_scatter(
        x=span, y=span, mode="lines", name="as predicted", line={"color": "var(--muted)", "dash": "dot"}, hoverinfo="skip"
    )
    chart.add_scatter(**_measured_markers(others, "archive", "other networks"))
    chart.add_scatter(**_measured_markers(first, "finalist", "finalists"))
    chart.data = tuple(trace for trace in chart.data if len(trace.x))
    for budget in run.settings.budgets:
        if budget.objective == found.objective and span[0] <= budget.upper <= span[1]:
            chart.add_hline(y=budget.upper, line={"color": "var(--budget)", "dash": "dash", "width": 2})
    note = "Bars are 95 % intervals: of the prediction across, of the measured median upwards; each network as it was measured first. The dashed line is the budget, where it is near."
    return Chart(key=key, title=title, figure=chart, note=note)


def _measured_markers(records: Sequence[MeasurementRecord], role: str, name: str) -> dict[str, Any]:
    return {
        "x": [record.predicted_ms for record in records],
        "y": [record.median_ms for record in records],
        "error_x": _error_bars([(r.predicted_low_ms, r.predicted_ms, r.predicted_high_ms) for r in records], role),
        "error_y": _error_bars([(r.low_ms, r.median_ms, r.high_ms) for r in records], role),
        "mode": "markers",
        "name": name,
        "marker": {"color": f"var(--{role})", "size": 8},
        "hovertext": [
            f"measured {r.median_ms:.3f} ms ({r.low_ms:.3f} to {r.high_ms:.3f})<br>"
            f"predicted {r.predicted_ms:.3f} ms ({r.predicted_low_ms:.3f} to {r.predicted_high_ms:.3f})"
            for r in records
        ],
        "hoverinfo": "text",
    }


def history_charts(run: RunReading) -> tuple[Chart, ...]:
    """Archive, hypervolume and surrogate over the iterations."""
    return (_accuracy_chart(run), _hypervolume_chart(run), _surrogate_chart(run))


def _accuracy_chart(run: RunReading) -> Chart:
    title = "Archive over time"
    if not run.iterations:
        return Chart(key="accuracy", title=title, figure=None, note="No archive is complete yet.")
    chart = _figure("Iteration", "Top-1 accuracy (%)", whole_numbers=True)
    with_best = [(i.record.iteration, i.best) for i in run.iterations if i.best is not None]
    chart.add_scatter(
        x=[number for number, _ in with_best],
        y=[network.accuracy_percent for _, network in with_best],
        mode="lines+markers",
        name="best within budget" if run.settings.budgets else "best",
        line={"color": "var(--front)", "width": 2},
        hovertext=[f"iteration {number}<br>{hover(network)}" for number, network in with_best],
        hoverinfo="text",
    )
    middles = [100.0 - float(np.median([network.error_percent for network in i.archive])) for i in run.iterations]
    chart.add_scatter(
        x=[iteration.record.iteration for iteration in run.iterations],
        y=middles,
        mode="lines+markers",
        name="middle of the archive",
        line={"color": "var(--archive)", "width": 2},
        hovertext=[f"middle of the archive {middle:.2f} %" for middle in middles],
        hoverinfo="text",
    )
    note = "Each iteration with the weights that the supernet had then."
    if not with_best:
        note += " Which networks keep the budgets is not known for any of them."
    return Chart(key="accuracy", title=title, figure=chart, note=note)


def _hypervolume_chart(run: RunReading) -> Chart:
    title = "What adaptation and new networks gave"
    later = run.iterations[1:]
    if not later:
        return Chart(key="hypervolume", title=title, figure=None, note="No iteration after the initial archive is finished.")
    chart = _figure("Iteration", "Hypervolume (share of the box)", whole_numbers=True)
    for name, role, values in (
        ("before", "archive", [i.record.hypervolumes.before for i in later]),
        ("kept networks, adapted weights", "finalist", [i.record.hypervolumes.adapted for i in later]),
        ("with new networks", "front", [i.record.hypervolumes.after for i in later]),
    ):
        chart.add_scatter(
            x=[i.record.iteration for i in later],
            y=values,
            mode="lines+markers",
            name=name,
            line={"color": f"var(--{role})", "width": 2},
            hovertext=[f"{name}: {value:.4f}" for value in values],
            hoverinfo="text",
        )
    note = (
        "Hypervolume is the share of the box, from nothing to 100 % error and the costs of the largest network, that the archive dominates; "
        "more is better."
    )
    return Chart(key="hypervolume", title=title, figure=chart, note=note)


def _surrogate_chart(run: RunReading) -> Chart:
    title = "Surrogate on new networks"
    scored = [(i.record.iteration, i.record.surrogate) for i in run.iterations if i.record.surrogate is not None]
    if not scored:
        return Chart(key="surrogate", title=title, figure=None, note="No iteration has used a surrogate yet.")
    chart = _figure("Iteration", "Kendall tau", whole_numbers=True)
    for name, role, values in (
        ("surrogate", "front", [record.on_new.kendall_tau for _, record in scored]),
        ("more MACs, less error", "archive", [record.macs_kendall_tau for _, record in scored]),
    ):
        chart.add_scatter(
            x=[number for number, _ in scored],
            y=values,
            mode="lines+markers",
            name=name,
            line={"color": f"var(--{role})", "width": 2},
            hovertext=[
                f"{name}: {value:.2f}<br>method {record.method}, {record.on_new.count} networks, RMSE {record.on_new.rmse:.2f} points"
                for value, (_, record) in zip(values, scored, strict=True)
            ],
            hoverinfo="text",
        )
    chart.update_yaxes(range=[-1.05, 1.05])
    note = "Errors predicted for new networks against errors then evaluated: 1 is the right order, 0 is none. Beside it, a rule that needs no surrogate."
    return Chart(key="surrogate", title=title, figure=chart, note=note)


def _error_bars(ends: Sequence[tuple[float, float, float]], role: str) -> dict[str, Any]:
    """Bars of `(low, value, high)`."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for _, value, high in ends],
        "arrayminus": [value - low for low, value, _ in ends],
        "color": f"var(--{role})",
        "thickness": 1.2,
        "width": 3,
    }


def _figure(x_title: str, y_title: str, *, whole_numbers: bool = False) -> Any:
    import plotly.graph_objects as go

    axis = {"gridcolor": "var(--grid)", "linecolor": "var(--grid)", "zeroline": False, "automargin": True}
    chart = go.Figure()
    chart.update_layout(
        template=go.layout.Template(),
        height=_HEIGHT,
        margin={"l": 8, "r": 8, "t": 28, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "var(--text)", "size": 13},
        hoverlabel={"bgcolor": "var(--card)", "bordercolor": "var(--grid)", "font": {"color": "var(--text)"}, "align": "left"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "var(--muted)", "activecolor": "var(--text)"},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
        xaxis={**axis, "title": {"text": html.escape(x_title)}, **({"dtick": None, "tickformat": "d"} if whole_numbers else {})},
        yaxis={**axis, "title": {"text": html.escape(y_title)}},
    )
    return chart
