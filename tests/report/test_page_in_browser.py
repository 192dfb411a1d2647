"""The page in a real browser: what it asks for, what it complains about, and what a reader can do with it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from nat_deploy.report import write_report
from nat_deploy.search import RefittableSource

from .browser import CHROMIUM, Tab, opened

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium to show the page in")
LIGHT, DARK = "rgb(22, 32, 46)", "rgb(230, 234, 240)"


@pytest.fixture(scope="module")
def report(finished: Path, predictors: Mapping[str, RefittableSource], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(finished, tmp_path_factory.mktemp("page") / "report.html", latency_predictors=predictors)


@pytest.fixture(scope="module")
def tab(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with opened(report, profile=tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def check_peace(tab: Tab, report: Path) -> None:
    assert [url for url in tab.requests if not url.startswith("data:")] == [report.as_uri()]
    assert tab.complaints == []


def panel(tab: Tab) -> str:
    text: str = tab.evaluate("document.getElementById('network').innerText")
    return text


def test_it_asks_for_nothing_and_complains_of_nothing(tab: Tab, report: Path) -> None:
    check_peace(tab, report)
    assert tab.evaluate("document.querySelectorAll('#front-plot .mark').length") > 5
    assert tab.evaluate("document.querySelectorAll('#threads .thread').length") > 5
    assert tab.evaluate("document.querySelectorAll('#front-plot img').length") == 0, "the drawing without script is replaced"
    assert tab.evaluate("getComputedStyle(document.body).color") == LIGHT


def test_a_complaint_would_be_seen(tab: Tab) -> None:
    """Or the test above could not fail."""
    tab.evaluate("console.error('on purpose')")
    tab.evaluate(
        "new Promise(done => { const image = new Image(); image.onerror = done; image.src = 'https://example.org/x.png'; })"
    )
    assert any("on purpose" in complaint for complaint in tab.complaints)
    assert any("Content Security Policy" in complaint for complaint in tab.complaints)
    tab.complaints.clear()
    tab.requests[:] = [url for url in tab.requests if "example.org" not in url]


def test_the_mouse_shows_a_network(tab: Tab) -> None:
    assert panel(tab).startswith("The chosen network")
    tab.evaluate("document.getElementById('front-plot').scrollIntoView({ block: 'center' })")
    mark = "document.querySelector('#front-plot .mark.archive').getBoundingClientRect()"
    tab.move_to(tab.evaluate(f"{mark}.x + 3"), tab.evaluate(f"{mark}.y + 3"))
    assert panel(tab).startswith("In the archive")
    assert "resolution" in panel(tab)


def test_arrow_keys_go_from_network_to_network(tab: Tab) -> None:
    tab.evaluate("document.querySelector('#front-plot svg').focus()")
    tab.press("Home")
    first = panel(tab)
    tab.press("ArrowRight")
    second = panel(tab)
    assert first != second
    tab.press("ArrowLeft")
    assert panel(tab) == first


def test_every_pair_of_measures_can_be_drawn(tab: Tab) -> None:
    drawn = tab.evaluate("""
        [...across.options].map(option => {
          across.value = option.value; across.dispatchEvent(new Event("change"));
          return document.querySelector("#front-plot svg").getAttribute("aria-label").split(";")[0];
        })""")
    assert drawn == [
        f"Top-1 accuracy (%) over {name}"
        for name in ("Top-1 accuracy (%)", "Latency (ms)", "MACs (million)", "Parameters (million)")
    ]
    assert tab.complaints == []


def test_a_limit_dims_what_is_not_good_enough(tab: Tab) -> None:
    def drag(value: int) -> None:
        tab.evaluate(
            f"(() => {{ const h = document.querySelectorAll('.limit')[1]; h.value = {value}; h.dispatchEvent(new Event('input')); }})()"
        )

    count = tab.evaluate("document.querySelectorAll('#front-plot .mark').length")
    assert tab.evaluate("document.querySelectorAll('#front-plot .mark.out').length") == 0
    drag(200)  # nothing but the fastest
    assert tab.evaluate("document.querySelectorAll('#front-plot .mark.out').length") == count - 1
    assert tab.evaluate("document.getElementById('within-limits').textContent") == f"1 of {count} networks are within the limits."
    tab.evaluate("document.getElementById('clear-limits').click()")
    assert tab.evaluate("document.querySelectorAll('#front-plot .mark.out').length") == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_a_phone_in_both_themes(report: Path, tmp_path: Path, dark: bool) -> None:
    with opened(report, profile=tmp_path, width=390, height=844, dark=dark) as phone:
        check_peace(phone, report)
        assert phone.evaluate("document.documentElement.scrollWidth") == 390, "nothing sticks out"
        assert phone.evaluate("getComputedStyle(document.body).color") == (DARK if dark else LIGHT)
        assert (
            phone.evaluate("Math.min(...[...document.querySelectorAll('select')].map(s => s.getBoundingClientRect().height))")
            >= 40
        )


@pytest.mark.parametrize("left", ["nothing", "no finalists"])
def test_partial_runs_are_shown_in_peace(
    run_copy: Path, predictors: Mapping[str, RefittableSource], tmp_path: Path, left: str
) -> None:
    (run_copy / "finalists.json").unlink()
    if left == "nothing":
        for path in (*(run_copy / "iterations").glob("*.json"), run_copy / "archive.jsonl", run_copy / "measurements.jsonl"):
            path.unlink()
    report = write_report(run_copy, latency_predictors=predictors)
    with opened(report, profile=tmp_path / "profile") as tab:
        check_peace(tab, report)
        assert (tab.evaluate("document.querySelectorAll('#front-plot .mark').length") > 0) == (left != "nothing")
