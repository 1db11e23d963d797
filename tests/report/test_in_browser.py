"""The page in a real browser: nothing is complained about or fetched, and the slider moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, find_chromium
from written_run import written_run

from relit.report.page import write_page

pytestmark = pytest.mark.slow

FIGURE = "document.querySelector('.photograph')"
CUT = f"{FIGURE}.style.getPropertyValue('--cut')"


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Browser]:
    """A tab that shows the page of one run."""
    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium: no chromium or google-chrome in PATH (Debian: apt install chromium)")
    write_page([written_run(tmp_path / "run")], tmp_path / "page.html")
    with Browser(program, tmp_path / "profile") as browser:
        browser.open(tmp_path / "page.html")
        yield browser


def side(tab: Browser, side: str) -> str:
    """What is shown on a side."""
    return str(tab.value(f"{FIGURE}.querySelector('.panel.{side} p').textContent"))


def place(tab: Browser) -> dict[str, float]:
    """Where the first photograph is, in pixels of the window."""
    box = f"{FIGURE}.querySelector('.stage').getBoundingClientRect()"
    found: dict[str, float] = tab.value(
        f"(({{left, top, width, height}}) => ({{left, top, width, height}}))({box})"
    )
    return found


def test_the_page_loads_without_a_complaint_or_a_request(tab: Browser) -> None:
    assert tab.value("document.querySelectorAll('img').length") == 9
    assert tab.value("[...document.images].every(image => image.complete && image.naturalWidth === 64)")
    assert tab.told("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") == []
    requested = {event["request"]["url"].partition(":")[0] for event in tab.told("Network.requestWillBeSent")}
    assert requested <= {"file", "data"}


def test_arrow_keys_move_the_divider(tab: Browser) -> None:
    tab.value(f"{FIGURE}.querySelector('input').focus()")
    for _ in range(3):
        tab.press("ArrowRight", 39)
    assert tab.value(CUT) == "53%"
    tab.press("Home", 36)
    assert tab.value(CUT) == "0%"
    # the left picture is cut away wholly
    clip = f"getComputedStyle({FIGURE}.querySelector('.panel.left')).clipPath"
    assert tab.value(clip) in ("inset(0px 100% 0px 0px)", "inset(0px calc(100%) 0px 0px)")


def test_a_finger_moves_it(tab: Browser) -> None:
    tab.value(f"{FIGURE}.scrollIntoView()")
    tab.send("Emulation.setTouchEmulationEnabled", enabled=True)
    box = place(tab)
    at = {"y": box["top"] + box["height"] / 2}
    start, end = ({"x": box["left"] + share * box["width"], **at} for share in (0.5, 0.75))
    tab.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[start])
    tab.send("Input.dispatchTouchEvent", type="touchMove", touchPoints=[end])
    tab.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert tab.value(CUT) == "75%"


def test_the_reference_can_stand_on_either_side(tab: Browser) -> None:
    assert (side(tab, "left"), side(tab, "right")) == ("input", "result")
    tab.value(f"{FIGURE}.querySelector('.left select').focus()")
    tab.press("ArrowDown", 40)
    tab.press("ArrowDown", 40)
    assert (side(tab, "left"), side(tab, "right")) == ("reference", "result")


def test_a_phone_has_nothing_beyond_its_edge(tab: Browser) -> None:
    tab.send("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    assert tab.value("document.documentElement.scrollWidth") == 360


def test_paper_shows_all_pictures_side_by_side(tab: Browser) -> None:
    tab.send("Emulation.setEmulatedMedia", media="print")
    lefts = tab.value(
        f"[...{FIGURE}.querySelectorAll('img')].map(image => image.getBoundingClientRect().left)"
    )
    assert lefts == sorted(set(lefts))
    assert len(lefts) == 3
    assert tab.value(f"getComputedStyle({FIGURE}.querySelector('.panel.left')).clipPath") == "none"
    assert tab.value(f"getComputedStyle({FIGURE}.querySelector('.controls')).display") == "none"
