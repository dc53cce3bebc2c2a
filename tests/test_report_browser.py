"""The page of ``sercorr report`` in a headless browser: sorting, playing, looks."""

from itertools import pairwise

import numpy as np
import pytest
from browsing import Visitor, open_browser
from made_up_results import LABELS


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


def test_sorting_by_click_and_keyboard(report_page, browser):
    visitor = Visitor(browser, report_page.as_uri())
    table = visitor.page.locator("#groups table").filter(has_text="fold 1").first
    head = table.get_by_role("columnheader").nth(1)
    button = head.get_by_role("button")

    def column() -> list[float]:
        return [float(text) for text in table.locator("tbody td").all_inner_texts()]

    before = column()
    assert head.get_attribute("aria-sort") is None
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column() == sorted(before, reverse=True)
    button.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(before)
    table.get_by_role("columnheader").first.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names)
    assert visitor.errors == []


def test_numbers_sort_as_numbers_and_gaps_stay_last(report_page, browser):
    visitor = Visitor(browser, report_page.as_uri())
    found = visitor.page.evaluate(
        """() => {
          const texts = ["9.5 (1)", "-", "10.25", "", "-3.5", "+2", "<0.001", "1e3"];
          const table = document.createElement("table");
          const body = table.createTBody();
          for (const text of texts) {
            const cell = body.insertRow().insertCell();
            cell.className = "number";
            cell.textContent = text;
          }
          const read = () => [...table.rows].map(row => row.cells[0].textContent);
          sortBy(table, 0, false);
          const up = read();
          sortBy(table, 0, true);
          return [up, read()];
        }"""
    )
    up = ["-3.5", "<0.001", "+2", "9.5 (1)", "10.25", "1e3"]
    assert found == [[*up, "-", ""], [*up[::-1], "-", ""]]


def test_playing_moves_the_cursor_and_keys_seek(report_page, browser):
    visitor = Visitor(browser, report_page.as_uri())
    player = visitor.page.locator(".player").first
    wave, cursor = player.locator(".wave"), player.locator(".cursor")
    audio = player.locator("audio")
    seconds = float(wave.get_attribute("data-seconds"))
    audio.evaluate("a => a.readyState || new Promise(r => a.onloadedmetadata = r)")
    assert audio.evaluate("a => a.duration") == pytest.approx(seconds, abs=0.002)

    def share() -> float:
        style = cursor.evaluate("c => c.style.left")
        return float(style.removesuffix("%")) / 100

    assert share() == 0
    wave.focus()
    for _ in range(3):
        wave.press("ArrowRight")
    assert audio.evaluate("a => a.currentTime") == pytest.approx(0.3, abs=0.01)
    assert share() == pytest.approx(0.3 / seconds, abs=0.02)
    assert float(wave.get_attribute("aria-valuenow")) == pytest.approx(0.3, abs=0.01)
    wave.press("Home")
    wave.press("Space")
    visitor.page.wait_for_function(
        "() => document.querySelector('.player audio').currentTime > 0.1"
    )
    assert share() > 0
    wave.press("Space")
    assert audio.evaluate("a => a.paused")
    box = wave.bounding_box()
    wave.click(position={"x": box["width"] / 2, "y": 10})
    assert share() == pytest.approx(0.5, abs=0.01)
    assert visitor.errors + visitor.strangers == []


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_follows_its_colours(
    report_page, browser, width, scheme
):
    look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    visitor = Visitor(browser, report_page.as_uri(), **look)

    def colours() -> list[list[int]]:
        return visitor.page.evaluate(
            """() => ["backgroundColor", "color"].map(name =>
              getComputedStyle(document.body)[name].match(/\\d+/g).map(Number))"""
        )

    visitor.page.evaluate(
        "document.querySelectorAll('details').forEach(d => { d.open = true; })"
    )
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
    first = colours()
    assert contrast(*first) > 7
    assert (luminance(first[0]) < 0.1) == (scheme == "dark")
    visitor.page.get_by_role(
        "button", name="Light" if scheme == "dark" else "Dark"
    ).click()
    second = colours()
    assert contrast(*second) > 7
    assert (luminance(second[0]) < 0.1) == (scheme == "light")
    assert visitor.errors + visitor.strangers == []


def luminance(colour: list[int]) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    shares = np.array(colour[:3]) / 255
    linear = np.where(
        shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: list[int], other: list[int]) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_print_opens_what_is_folded(report_page, browser):
    visitor = Visitor(browser, report_page.as_uri())
    visitor.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert visitor.page.locator("details:not([open])").count() == 0
    visitor.page.emulate_media(media="print")
    assert not visitor.page.locator("nav").is_visible()
    assert not visitor.page.locator("audio").first.is_visible()
    visitor.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert visitor.page.locator("details:not([open])").count() > 0


def test_those_who_do_not_see_it_know_what_is_there(report_page, browser):
    visitor = Visitor(browser, report_page.as_uri())
    at = visitor.page
    assert at.evaluate("document.documentElement.lang") == "en"
    levels = at.locator("h1, h2, h3, h4").evaluate_all(
        "all => all.map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= one + 2 for one, later in pairwise(levels))
    assert at.locator("svg:not([role=img])").count() == 0
    assert at.locator("svg").count() == at.locator("svg > title").count() > 3
    assert at.locator("table").count() == at.locator("caption").count()
    at.keyboard.press("Tab")
    assert at.evaluate("document.activeElement.textContent") == "Skip to the results"
    slider = at.get_by_role("slider").first
    assert slider.get_attribute("aria-label").startswith("Position in ")
    assert LABELS[0] in at.locator(".scores").first.inner_text()
