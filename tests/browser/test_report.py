"""The report as people use it: by keyboard, on a telephone, in the dark, offline, with thousands of scans."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.unit.report_fakes import HOSTILE, pictures, write_run
from vp_engine.report.html import STATIC_THUMBNAILS, write_report
from vp_engine.report.slices import COLOURS

pytestmark = pytest.mark.timeout(600)

SCANS = 130
WIDER = "document.scrollingElement.scrollWidth - window.innerWidth"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    scans, cases = pictures(SCANS)
    text = "Measure both hippocampi, " + "x" * 300 + HOSTILE
    extras = write_run(folder, text=text, patients="patient " + "y" * 80)
    return write_report(folder, extras=replace(extras, scans=scans, cases=cases, limits="Not for children."))


def open_viewer(tab: Any) -> None:
    from playwright.sync_api import expect

    tab.locator("button.open").first.click()
    expect(tab.locator("#viewer-status")).to_have_text(re.compile("from the origin|cannot"), timeout=120_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_within_the_window_and_silent(visit: Any, report: Path, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab, heard = visit(report, scheme=scheme)
    assert tab.evaluate(WIDER) == 0
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    open_viewer(tab)
    for width in (1280, 400):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.wait_for_timeout(300)
        assert tab.evaluate(WIDER) == 0
        found = Axe().run(tab).response
        assert found["violations"] == [], [(one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"]]
        assert "color-contrast" in {one["id"] for one in found["passes"]}
    assert (heard.console, heard.errors) == ([], [])
    assert [url for url in heard.requests if not url.startswith("data:image/")] == [report.as_uri()]


def test_axe_would_tell(visit: Any, report: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab, _ = visit(report)
    tab.evaluate(
        "document.querySelector('#gallery-filter').closest('label').replaceWith(document.querySelector('#gallery-filter'))"
    )
    tab.evaluate("document.querySelector('.lead').style.color = '#bbbbbb'")
    assert {one["id"] for one in Axe().run(tab).response["violations"]} >= {"color-contrast"}


def test_every_control_is_reached_and_worked_by_keys(visit: Any, report: Path) -> None:
    tab, _ = visit(report)
    reached = []
    for _ in range(150):
        tab.keyboard.press("Tab")
        reached.append(
            tab.evaluate(
                "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
            )
        )
        if reached[-1] == "gallery-more":
            break
    assert reached[0] == "skip"
    order = [name for name in reached if name.startswith("gallery-")]
    assert order == ["gallery-sort", "gallery-target", "gallery-filter", "gallery-more"]
    tab.keyboard.press("Enter")  # more scans, and the focus moves to the first new one
    assert tab.locator("#gallery li").count() == 96
    assert tab.evaluate("[...document.getElementById('gallery').children].indexOf(document.activeElement)") == 48
    tab.locator("#gallery-sort").focus()
    tab.keyboard.press("q")  # the first choice that begins with it: qc_score, lowest first
    assert tab.locator("#gallery-sort").input_value() == "low"
    assert "sub-00" in tab.locator("#gallery li").first.inner_text()
    tab.locator("button.open").nth(1).focus()
    tab.keyboard.press("Space")
    from playwright.sync_api import expect

    status = tab.locator("#viewer-status")
    expect(status).to_have_text(re.compile("from the origin"), timeout=120_000)
    assert tab.evaluate("document.activeElement.id") == "viewer"
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "viewer-view"
    tab.keyboard.press("Tab")
    before = status.inner_text()
    tab.keyboard.press("ArrowRight")
    assert status.inner_text() != before
    assert " mm " in tab.locator("#viewer-x").get_attribute("aria-valuetext")
    for name in ("viewer-y", "viewer-z", "viewer-opacity", "viewer-close", "viewer-canvas"):
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.id") == name
    tab.keyboard.press("Shift+Tab")
    tab.keyboard.press("Enter")
    assert tab.locator("#viewer").is_hidden()
    assert tab.evaluate("document.activeElement.dataset.case") == "1"


def test_the_viewer_says_which_colour_is_which_structure(visit: Any, report: Path) -> None:
    tab, _ = visit(report)
    open_viewer(tab)
    lines = tab.locator("#viewer-legend li")
    assert lines.all_inner_texts() == ["left hippocampus", "right hippocampus"]
    colours = [line.evaluate("(line) => getComputedStyle(line.firstChild).backgroundColor") for line in lines.all()]
    assert colours == [f"rgb{COLOURS[number]}" for number in (0, 1)]
    assert tab.get_by_label("Opacity of the outlined structures").get_attribute("id") == "viewer-opacity"
    tab.locator("#viewer-close").click()
    open_viewer(tab)
    assert lines.count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_that_is_cut_off_has_a_shadow_where_it_goes_on(visit: Any, report: Path, scheme: str) -> None:
    tab, _ = visit(report, width=400, scheme=scheme)
    tables = tab.get_by_role("region", name="Why prompts were not answered")
    tables.scroll_into_view_if_needed()
    assert tables.get_attribute("tabindex") == "0"

    def edges() -> list[bool]:
        """Whether the left and the right edge, below the caption, are of another colour than what lies beside them."""
        shown = Image.open(io.BytesIO(tables.screenshot())).convert("L")
        row = [shown.getpixel((x, 4)) for x in range(shown.width)]
        return [abs(row[end] - row[end + inwards]) > 30 for end, inwards in ((0, 25), (-1, -25))]

    assert edges() == [False, True]
    tables.evaluate("(region) => { region.scrollLeft = 60; }")
    assert edges() == [True, True]
    tables.focus()
    tab.keyboard.press("End")
    for _ in range(60):
        tab.keyboard.press("ArrowRight")
    tab.wait_for_timeout(500)
    assert edges() == [True, False]


def test_the_viewer_shows_the_structure_that_is_there(visit: Any, report: Path) -> None:
    tab, _ = visit(report)
    open_viewer(tab)
    status = tab.locator("#viewer-status")
    for x, name in ((36, "left hippocampus"), (87, "right hippocampus")):  # in mm; the head is 32 voxels of 4 mm wide
        tab.locator("#viewer-x").fill(str(x))
        tab.locator("#viewer-y").fill("78")
        tab.locator("#viewer-z").fill("58")
        assert status.inner_text().endswith(f"{name}.")
    assert [tab.locator("#viewer-x").get_attribute(end) for end in ("min", "max")] == [
        "6",
        "118",
    ]  # cropped to the head
    dark = tab.locator("#viewer-canvas").screenshot()
    tab.locator("#viewer-view").select_option("3d")
    tab.wait_for_timeout(500)
    assert tab.locator("#viewer-canvas").screenshot() != dark


def test_sorting_filtering_and_pictures_that_are_made_when_they_are_near(visit: Any, report: Path) -> None:
    tab, _ = visit(report)
    status, items = tab.locator("#gallery-status"), tab.locator("#gallery li")
    assert status.inner_text() == f"{SCANS} of {SCANS} scans; 48 shown."
    loaded = 'document.querySelectorAll("#gallery img[src]").length'
    assert tab.evaluate(loaded) < 48
    tab.locator("#gallery li").nth(47).scroll_into_view_if_needed()
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.querySelector('#gallery li:nth-child(48) img').naturalWidth") == 388
    tab.locator("#gallery-sort").select_option("high")
    assert f"sub-{SCANS - 1}" in items.first.inner_text()
    tab.locator("#gallery-sort").select_option("who")
    names = [text.split("sub-")[1].split()[0] for text in items.all_inner_texts()]
    assert names == [f"{n:02d}" for n in range(48)]
    tab.locator("#gallery-target").select_option(label="right hippocampus")
    assert "right hippocampus" in items.first.inner_text()
    tab.locator("#gallery-filter").fill("SUB-05")
    assert status.inner_text() == f"1 of {SCANS} scans; 1 shown."
    assert "No picture: gone" in items.first.inner_text()
    assert tab.locator("#gallery-more").is_hidden()


def test_without_javascript_nothing_is_missing_but_the_controls(visit: Any, report: Path) -> None:
    tab, _ = visit(report, script=False)
    assert tab.locator("#gallery img").count() == STATIC_THUMBNAILS - 1  # one of the first has no picture
    assert tab.locator(".cases img").count() == 2
    assert not any(control.is_visible() for control in tab.locator("button, select, input").all())
    assert tab.locator("#writeup").inner_text().count("Hoopes") == 1


def test_figures_for_small_windows_are_the_narrow_ones(visit: Any, report: Path) -> None:
    shapes = {}
    for width in (1280, 400):
        tab, _ = visit(report, width=width)
        picture = tab.locator("#statistics picture img").first
        picture.scroll_into_view_if_needed()
        shapes[width] = picture.evaluate("(image) => [image.naturalWidth, image.getBoundingClientRect().width]")
    assert shapes[400][0] < shapes[1280][0]
    assert shapes[400][1] / shapes[400][0] > 0.9  # letters keep their size
