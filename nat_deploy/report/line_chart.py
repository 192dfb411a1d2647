"""A small chart as SVG without a size of its own and without a script: lines or points, each with an interval in one or both directions.

Colours are CSS variables named after the role of a series, `var(--front)`. What a reader hovers over is told by the browser from `<title>`.
"""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nat_deploy.report.axis import Axis

_WIDTH, _HEIGHT = 400, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 10, 24, 42
_TICKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartPoint:
    """`x_ends` and `y_ends` are intervals; `told` is said of the point."""

    x: float
    y: float
    told: str
    x_ends: tuple[float, float] | None = None
    y_ends: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points of one kind; `role` names their colour."""

    name: str
    role: str
    points: tuple[ChartPoint, ...]
    joined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """What to draw.

    whole_numbers   the values across are counts
    y_range         what the axis upwards holds at least
    diagonal        draw where both values are equal
    level           a value upwards to mark, with what it is called
    """

    name: str
    x_axis: str
    y_axis: str
    series: tuple[Series, ...]
    whole_numbers: bool = False
    y_range: tuple[float, ...] = ()
    diagonal: bool = False
    level: tuple[float, str] | None = None

    def svg(self) -> str:
        """The drawing as one element; there must be a point."""
        points = [point for series in self.series for point in series.points]
        across = _shown([point.x for point in points], [end for point in points for end in point.x_ends or ()])
        upwards = _shown([point.y for point in points], [end for point in points for end in point.y_ends or ()])
        shared = (*across, *upwards) if self.diagonal else ()
        x = Axis.over((*across, *shared), _LEFT, _WIDTH - _RIGHT)
        y = Axis.over((*upwards, *shared, *self.y_range), _HEIGHT - _BOTTOM, _TOP)
        shapes = [*self._frame(x, y), *self._references(x, y)]
        shapes += [shape for series in self.series for shape in _drawn(series, x, y)]
        head = f'<svg class="line-chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(self.name)}">'
        return head + "".join(shapes) + "</svg>"

    def _frame(self, x: Axis, y: Axis) -> Iterator[str]:
        bottom = _HEIGHT - _BOTTOM
        for tick in y.ticks(_TICKS):
            yield f'<path class="grid" d="M{_LEFT} {y.place(tick):.1f}H{_WIDTH - _RIGHT}"/>'
            yield f'<text x="{_LEFT - 7}" y="{y.place(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in x.ticks(_TICKS, least_step=1.0 if self.whole_numbers else 0.0):
            yield f'<text x="{x.place(tick):.1f}" y="{bottom + 17}" text-anchor="middle">{tick:g}</text>'
        yield f'<text x="0" y="11">{html.escape(self.y_axis)}</text>'
        yield f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{html.escape(self.x_axis)}</text>'

    def _references(self, x: Axis, y: Axis) -> Iterator[str]:
        if self.diagonal:
            low, high = max(x.low, y.low), min(x.high, y.high)
            ends = f"M{x.place(low):.1f} {y.place(low):.1f}L{x.place(high):.1f} {y.place(high):.1f}"
            yield f'<path class="diagonal" d="{ends}"/>'
        if self.level is not None and y.low <= self.level[0] <= y.high:
            place = y.place(self.level[0])
            yield f'<path class="budget" d="M{_LEFT} {place:.1f}H{_WIDTH - _RIGHT}"/>'
            yield f'<text class="over" x="{_LEFT + 4}" y="{place - 5:.1f}">{html.escape(self.level[1])}</text>'


def _shown(values: Sequence[float], ends: Sequence[float]) -> list[float]:
    """What an axis must hold: all values, and intervals as far as they leave the values room to be told apart."""
    low, high = min(values), max(values)
    room = (high - low) / 2 or abs(high) / 2
    return [*values, *(min(max(end, low - room), high + room) for end in ends)]


def _drawn(series: Series, x: Axis, y: Axis) -> Iterator[str]:
    yield f'<g style="color:var(--{series.role})">'
    if series.joined and len(series.points) > 1:
        path = "L".join(f"{x.place(point.x):.1f} {y.place(point.y):.1f}" for point in series.points)
        yield f'<path class="joined" d="M{path}"/>'
    for point in series.points:
        yield f"<g><title>{html.escape(point.told)}</title>{_intervals(point, x, y)}"
        yield f'<circle cx="{x.place(point.x):.1f}" cy="{y.place(point.y):.1f}" r="3.6"/></g>'
    yield "</g>"


def _intervals(point: ChartPoint, x: Axis, y: Axis) -> str:
    paths = ""
    if point.x_ends is not None:
        left, right = (x.place(min(max(end, x.low), x.high)) for end in point.x_ends)
        paths += f"M{left:.1f} {y.place(point.y):.1f}H{right:.1f}"
    if point.y_ends is not None:
        bottom, top = (y.place(min(max(end, y.low), y.high)) for end in point.y_ends)
        paths += f"M{x.place(point.x):.1f} {bottom:.1f}V{top:.1f}"
    return f'<path class="interval" d="{paths}"/>' if paths else ""


def drawable(series: Sequence[Series]) -> tuple[Series, ...]:
    """Those that have points."""
    return tuple(one for one in series if one.points)
