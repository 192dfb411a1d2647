"""A chart of points with intervals: what matters can be told apart."""

import re

from nat_deploy.report.line_chart import ChartPoint, LineChart, Series


def chart(*points: ChartPoint) -> str:
    series = Series(name="networks", role="archive", points=points)
    return LineChart(name="latency", x_axis="Predicted (ms)", y_axis="Measured (ms)", series=(series,), diagonal=True).svg()


def places(svg: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf'{name}="([\d.]+)"', svg)]


def test_one_wide_interval_does_not_press_the_points_together() -> None:
    near = ChartPoint(x=1.0, y=1.0, told="near", x_ends=(0.9, 1.1))
    far = ChartPoint(x=2.0, y=2.0, told="far", x_ends=(0.1, 400.0))
    svg = chart(near, far)
    left, right = places(svg, "cx")
    assert right - left > 100  # of 400
    _, (start, end) = re.findall(r'class="interval" d="M([\d.]+) [\d.]+H([\d.]+)"', svg)
    assert float(start) < left
    assert float(end) == 390, "cut at the edge"
    assert "<title>far</title>" in svg


def test_an_interval_that_fits_is_drawn_whole() -> None:
    svg = chart(ChartPoint(x=1.0, y=1.0, told="a", x_ends=(0.9, 1.1)), ChartPoint(x=2.0, y=2.0, told="b", x_ends=(1.8, 2.2)))
    cx = places(svg, "cx")
    ends = re.findall(r'class="interval" d="M([\d.]+) [\d.]+H([\d.]+)"', svg)
    for middle, (start, end), half in zip(cx, ends, (0.1, 0.2), strict=True):
        scale = cx[1] - cx[0]  # pixels a millisecond
        assert abs((float(end) - float(start)) - 2 * half * scale) < 0.3
        assert abs((float(end) + float(start)) / 2 - middle) < 0.3
