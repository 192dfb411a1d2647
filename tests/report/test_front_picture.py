import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import pytest

from nat_deploy.errors import InputError
from nat_deploy.report import FrontPicture, PicturePoint, RunReading, picture_of, write_front_picture
from nat_deploy.search import RefittableSource

SVG = "{http://www.w3.org/2000/svg}"


def at(cost: float, accuracy: float) -> PicturePoint:
    return PicturePoint(cost=cost, accuracy_percent=accuracy)


def test_a_run_is_drawn_small_and_needs_nothing_else(
    finished: Path, predictors: Mapping[str, RefittableSource], tmp_path: Path
) -> None:
    out = write_front_picture(finished, tmp_path / "front.svg", latency_predictors=predictors, random=[at(1.2, 40.0)])
    text = out.read_text(encoding="utf-8")
    assert len(text) < 30_000
    assert text.count("http") == 1  # the name of SVG itself
    root = ET.fromstring(text)
    circles = [element.get("class") for element in root.iter(f"{SVG}circle")]
    assert circles.count("random") == 2  # the network and the legend
    assert [element.get("class") for element in root.iter(f"{SVG}polygon")] == ["chosen", "chosen"]
    assert "budget 1.5 ms" in text


def test_the_front_of_the_picture_is_that_of_two_costs(reading: RunReading) -> None:
    picture = picture_of(reading)
    accuracies = [point.accuracy_percent for point in picture.front]
    assert accuracies == sorted(accuracies)
    assert picture.chosen in picture.front
    assert picture.budget == 1.5


def test_points_lie_where_their_values_say() -> None:
    picture = FrontPicture(title="T", x_axis="x", archive=(at(1, 50),), front=(at(1, 60), at(2, 70), at(3, 80)))
    circles = [e for e in ET.fromstring(picture.svg()).iter(f"{SVG}circle") if e.get("class") == "front"]
    places = [(float(e.get("cx", "")), float(e.get("cy", ""))) for e in circles[:3]]
    (x1, y1), (x2, y2), (x3, y3) = places
    assert x1 < x2 < x3
    assert y1 > y2 > y3  # upwards is smaller
    assert x3 - x2 == pytest.approx(x2 - x1, abs=0.2)
    assert y3 - y2 == pytest.approx(y2 - y1, abs=0.2)


@pytest.mark.parametrize("points", [(at(5, 50),), (at(0, 0),), (at(1e-9, 99.999), at(1e9, 100))])
def test_odd_values_are_drawn(points: tuple[PicturePoint, ...]) -> None:
    ET.fromstring(FrontPicture(title="<&>", x_axis="<&>", archive=(), front=points).svg())


def test_nothing_to_draw_is_said(reading: RunReading) -> None:
    with pytest.raises(InputError, match="at least one network"):
        FrontPicture(title="T", x_axis="x", archive=(), front=())
    with pytest.raises(InputError, match="latency_ms, macs"):
        picture_of(reading, "latency_ms@jetson")
