"""A front as a small SVG picture, for a README: no script, both themes, readable at any size."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nat_deploy.errors import InputError
from nat_deploy.files import write_atomically
from nat_deploy.report.axis import Axis
from nat_deploy.report.network import Network
from nat_deploy.report.reading import RunReading, read_run
from nat_deploy.report.wording import axis_of, bound, scaled
from nat_deploy.search import LATENCY, RefittableSource, non_dominated

_WIDTH, _HEIGHT = 720, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 44, 56

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1c2330; } .grid { stroke: #dde1e7; } .archive { fill: #8b95a5; fill-opacity: .5; }
.random { fill: none; stroke: #8b95a5; } .front { fill: #1f6fd6; } .line { fill: none; stroke: #1f6fd6; stroke-width: 1.8; }
.chosen { fill: #c2185b; } .budget { stroke: #b3261e; stroke-width: 1.8; stroke-dasharray: 7 5; } .over { fill: #b3261e; }
@media (prefers-color-scheme: dark) {
text { fill: #e6eaf0; } .grid { stroke: #323b48; } .archive { fill: #7d899a; } .random { stroke: #7d899a; } .front { fill: #6cb0ff; }
.line { stroke: #6cb0ff; } .chosen { fill: #ff79ab; } .budget { stroke: #ff8a80; } .over { fill: #ff8a80; } }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturePoint:
    """A network in the picture: a cost in the unit of the x axis, and its accuracy in percent."""

    cost: float
    accuracy_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPicture:
    """What to draw. `budget` is a cost; `random` are networks to compare with, for example of a random search."""

    title: str
    x_axis: str
    y_axis: str = "Top-1 accuracy (%)"
    archive: tuple[PicturePoint, ...]
    front: tuple[PicturePoint, ...]
    chosen: PicturePoint | None = None
    budget: float | None = None
    budget_label: str = ""
    random: tuple[PicturePoint, ...] = ()

    def __post_init__(self) -> None:
        if not self._points():
            raise InputError(
                "a picture of a front needs at least one network, but there is none; let the search evaluate some first"
            )

    def svg(self) -> str:
        """The picture as a whole SVG file."""
        costs = [point.cost for point in self._points()] + ([] if self.budget is None else [self.budget])
        x = Axis.over(costs, _LEFT, _WIDTH - _RIGHT)
        y = Axis.over([point.accuracy_percent for point in self._points()], _HEIGHT - _BOTTOM, _TOP)
        shapes = [*self._frame(x, y), *self._budget_line(x), *self._networks(x, y), *self._legend()]
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        return f"{head}\n<title>{html.escape(self.title)}</title>\n<style>{_STYLE}</style>\n" + "\n".join(shapes) + "\n</svg>\n"

    def _points(self) -> tuple[PicturePoint, ...]:
        return (*self.archive, *self.front, *self.random, *(() if self.chosen is None else (self.chosen,)))

    def _frame(self, x: Axis, y: Axis) -> Iterator[str]:
        bottom = _HEIGHT - _BOTTOM
        for tick in x.ticks():
            yield f'<line class="grid" x1="{x.place(tick):.1f}" x2="{x.place(tick):.1f}" y1="{_TOP}" y2="{bottom}"/>'
            yield f'<text x="{x.place(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>'
        for tick in y.ticks():
            yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y.place(tick):.1f}" y2="{y.place(tick):.1f}"/>'
            yield f'<text x="{_LEFT - 8}" y="{y.place(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        middle = (_TOP + bottom) / 2
        yield f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2:g}" y="{_HEIGHT - 14}" text-anchor="middle">{html.escape(self.x_axis)}</text>'
        yield f'<text transform="translate(16 {middle:g}) rotate(-90)" text-anchor="middle">{html.escape(self.y_axis)}</text>'

    def _budget_line(self, x: Axis) -> Iterator[str]:
        if self.budget is not None:
            place = x.place(self.budget)
            label = html.escape(self.budget_label or f"budget {self.budget:g}")
            yield f'<line class="budget" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
            yield f'<text class="over" x="{place - 6:.1f}" y="{_HEIGHT - _BOTTOM - 8}" text-anchor="end">{label}</text>'

    def _networks(self, x: Axis, y: Axis) -> Iterator[str]:
        for role, radius, points in (("random", 3.2, self.random), ("archive", 3.2, self.archive), ("front", 4.2, self.front)):
            for point in points:
                yield f'<circle class="{role}" cx="{x.place(point.cost):.1f}" cy="{y.place(point.accuracy_percent):.1f}" r="{radius}"/>'
        stairs = _stairs([(x.place(point.cost), y.place(point.accuracy_percent)) for point in _best(self.front)])
        if stairs:
            yield f'<path class="line" d="{stairs}"/>'
        if self.chosen is not None:
            yield _star("chosen", x.place(self.chosen.cost), y.place(self.chosen.accuracy_percent))

    def _legend(self) -> Iterator[str]:
        entries = (
            ("front", self.front),
            ("archive", self.archive),
            ("random", self.random),
            ("chosen", () if self.chosen is None else (self.chosen,)),
        )
        left = float(_LEFT)
        for role, points in entries:
            if points:
                mark = (
                    _star(role, left + 6, 22)
                    if role == "chosen"
                    else f'<circle class="{role}" cx="{left + 6:g}" cy="22" r="4.2"/>'
                )
                yield f'{mark}<text x="{left + 18:g}" y="26">{role}</text>'
                left += 96


def write_front_picture(
    run: Path,
    out: Path,
    *,
    cost: str = LATENCY,
    random: Sequence[PicturePoint] = (),
    latency_predictors: Mapping[str, RefittableSource] | None = None,
) -> Path:
    """Draw the front of a run over a cost; returns `out`.

    Args:
        run: The run folder.
        out: The SVG file to write.
        cost: Name of the objective on the x axis.
        random: More networks to compare with.
        latency_predictors: As in `write_report`.

    Raises:
        InputError: No network of the run has that cost, or the file cannot be written.
        MissingError, FileFormatError: There is no run, or it is broken.
    """
    picture = picture_of(read_run(run, latency_predictors=latency_predictors), cost, random)
    write_atomically(out, picture.svg())
    return out


def picture_of(run: RunReading, cost: str = LATENCY, random: Sequence[PicturePoint] = ()) -> FrontPicture:
    """The picture of a run: its archive, and those of the front that none on it beats in this cost and in accuracy.

    Raises:
        InputError: No network of the run has that cost.
    """
    if cost not in run.cost_names:
        known = ", ".join(run.cost_names) or "none yet"
        raise InputError(
            f"cost of the picture must be known of the run's networks ({known}), but it is '{cost}'; choose one of these"
        )
    front = tuple(_best(_points((*run.front, *run.finalists), cost)))
    budget = next((budget for budget in run.settings.budgets if budget.objective == cost), None)
    return FrontPicture(
        title=f"Accuracy over {axis_of(cost)}",
        x_axis=axis_of(cost),
        y_axis=f"{run.accuracy_names[0]} (%)",
        archive=tuple(point for point in _points(run.archive, cost) if point not in front),
        front=front,
        chosen=next(iter(_points(run.finalists[:1], cost)), None),
        budget=None if budget is None else scaled(cost, budget.upper),
        budget_label="" if budget is None else f"budget {bound(budget)}",
        random=tuple(random),
    )


def _points(networks: Sequence[Network], name: str) -> tuple[PicturePoint, ...]:
    found = [(network, network.cost(name)) for network in networks]
    return tuple(
        PicturePoint(cost=scaled(name, cost.value), accuracy_percent=network.accuracy_percent)
        for network, cost in found
        if cost is not None
    )


def _best(points: Sequence[PicturePoint]) -> list[PicturePoint]:
    """Those that no other one beats in both, from cheap to dear, each once."""
    distinct = list(dict.fromkeys(points))
    values = np.array([(point.cost, -point.accuracy_percent) for point in distinct], dtype=np.float64).reshape(-1, 2)
    kept = [point for point, best in zip(distinct, non_dominated(values), strict=True) if best]
    return sorted(kept, key=lambda point: point.cost)


def _stairs(places: Sequence[tuple[float, float]]) -> str:
    if len(places) < 2:
        return ""
    (x, y), *rest = places
    return f"M{x:.1f} {y:.1f}" + "".join(f"H{right:.1f}V{top:.1f}" for right, top in rest)


def _star(role: str, x: float, y: float) -> str:
    corners = [(9 if corner % 2 == 0 else 4, math.pi * (corner / 5 - 0.5)) for corner in range(10)]
    points = " ".join(f"{x + radius * math.cos(angle):.1f},{y + radius * math.sin(angle):.1f}" for radius, angle in corners)
    return f'<polygon class="{role}" points="{points}"/>'
