"""report.html in a real headless Chromium: no request, no error, and the page of all runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from pwfn.run.start import Finished
from tests.support.browser import MARKS, PHONE, Reader
from tests.support.runs.report_runs import EVIL

pytestmark = MARKS
BEST, MARKUP, FAILED, ENDED = 2, 1, 3, 4  # rows of the page


def test_it_opens_from_disk_without_a_request_or_a_word_in_the_console(reader: Reader, page: Path) -> None:
    reader.read(page)
    assert reader.requests() == [page.as_uri()]
    assert reader.driver.get_log("browser") == []
    for chart in ("pareto-bits", "pareto-file", "curves", "codebook", "weights"):
        assert reader.run("return document.querySelectorAll(`#${arguments[0]} .main-svg`).length", chart) > 0, chart
    assert reader.points("pareto-bits") == [(3.0, 91.0), (3.5, 90.0), (4.5, 98.5), (5.0, 97.0)]
    assert reader.points("pareto-file") == [(0.1, 91.0), (0.2, 90.0), (0.3, 98.5), (0.4, 97.0)]


def test_a_request_and_an_error_would_have_been_seen(reader: Reader, tmp_path: Path) -> None:
    other = tmp_path / "other.html"
    other.write_text("<img src='http://127.0.0.1:9/x.png'><script>nothing()</script>")
    reader.open(other)
    assert reader.requests() == [other.as_uri(), "http://127.0.0.1:9/x.png"]
    assert any("nothing is not defined" in entry["message"] for entry in reader.driver.get_log("browser"))


def test_sorting_by_figures_text_and_with_what_is_missing_last(reader: Reader, page: Path) -> None:
    reader.read(page)
    assert reader.sort("top1")[:4] == ["2_b=6", "10_b=6", EVIL, "0_b=5"]
    heading = "return document.querySelector(\"#table th[data-key='top1']\").getAttribute('aria-sort')"
    assert reader.run(heading) == "descending"
    down = reader.names()
    assert reader.sort("top1")[:3] == ["4_ended", "0_b=5", EVIL]
    assert reader.run(heading) == "ascending"
    assert {*down[-2:]} == {*reader.names()[-2:]} == {"job 3", "job 5"}  # which have no figure
    numbered = [EVIL, "0_b=5", "2_b=6", "4_ended", "10_b=6", "job 3", "job 5"]  # 2 before 10
    assert reader.sort("run") == numbered
    assert reader.run(heading) == "none"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("top1>=97", ["2_b=6", "10_b=6"]),
        ("bits<3.5", [EVIL]),
        ("b=6 seed=1", ["10_b=6"]),
        ("codebook.b!=7 top1<98", ["0_b=5", EVIL, "10_b=6"]),
        ("status=failed", ["job 3", "job 5"]),
        ("UNFINISHED", ["4_ended"]),
        ("<script>", [EVIL]),
        ("nothing<like>that", []),
        ("", ["0_b=5", EVIL, "2_b=6", "job 3", "4_ended", "job 5", "10_b=6"]),
    ],
)
def test_filtering(reader: Reader, page: Path, words: str, found: list[str]) -> None:
    if reader.driver.current_url != page.as_uri():
        reader.read(page)
    assert sorted(reader.filter(words)) == sorted(found)  # in whatever order another test has left them
    figures = {"0_b=5": (3.5, 90.0), EVIL: (3.0, 91.0), "2_b=6": (4.5, 98.5), "10_b=6": (5.0, 97.0)}
    assert reader.points("pareto-bits") == sorted(figures[name] for name in found if name in figures)
    said = reader.driver.find_element(By.ID, "count").text
    assert said == (f"{len(found)} of 7 shown" if words else "")


def test_the_name_of_a_run_stays_text_everywhere(reader: Reader, page: Path) -> None:
    reader.read(page)
    reader.run("document.querySelectorAll('button.pick')[arguments[0]].click()", MARKUP)
    point = "document.getElementById('pareto-bits')"
    curve = f"{point}.data.findIndex(t => t.customdata && t.customdata.includes({MARKUP}))"
    number = f"{point}.data[{curve}].customdata.indexOf({MARKUP})"
    reader.run(f"Plotly.Fx.hover({point}, [{{curveNumber: {curve}, pointNumber: {number}}}])")
    reader.wait("return document.querySelector('#pareto-bits .hovertext') !== null")
    shown = reader.run("return document.querySelector('#pareto-bits .hovertext').textContent")
    assert shown.replace("\xa0", " ").startswith(EVIL)
    assert reader.run("return window.hacked") is None
    assert reader.run("return document.querySelectorAll('img, #table script').length") == 0
    assert f"no {EVIL}" in reader.driver.find_element(By.CSS_SELECTOR, "ul.failed").text
    assert reader.driver.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_never_scrolls_the_page_sideways(reader: Reader, page: Path, scheme: str) -> None:
    reader.read(page, width=PHONE, prefers_color_scheme=scheme)
    reader.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    for run in (BEST, MARKUP, FAILED, ENDED):
        Select(reader.driver.find_element(By.ID, "run")).select_by_value(str(run))
        reader.run("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert reader.run("return [document.documentElement.scrollWidth, innerWidth]") == [PHONE, PHONE]
        charts = reader.run(
            "return [...document.querySelectorAll('.main-svg')].map(s => s.getBoundingClientRect().right)"
        )
        assert all(right <= PHONE for right in charts)


def test_light_and_dark_change_the_page_and_the_charts_at_once(reader: Reader, page: Path) -> None:
    reader.read(page, prefers_color_scheme="light")
    seen = (
        "return [getComputedStyle(document.body).backgroundColor, document.getElementById('curves').layout.font.color]"
    )
    assert reader.run(seen) == ["rgb(255, 255, 255)", "#1b1f24"]
    reader.prefer(prefers_color_scheme="dark")
    reader.wait("return document.getElementById('curves').layout.font.color === '#e6e9ec'")
    assert reader.run(seen)[0] == "rgb(20, 23, 27)"
    assert reader.run("return document.getElementById('codebook').layout.font.color") == "#e6e9ec"
    reader.run("dispatchEvent(new Event('beforeprint'))")  # ink is for paper, also from a dark screen
    assert reader.run(seen) == ["rgb(255, 255, 255)", "#1b1f24"]
    reader.run("dispatchEvent(new Event('afterprint'))")
    assert reader.run(seen)[1] == "#e6e9ec"


def test_paper_has_no_controls(reader: Reader, page: Path) -> None:
    reader.read(page)
    reader.prefer("print")
    assert reader.run("return [...document.querySelectorAll('.controls')].some(one => one.offsetHeight > 0)") is False
    assert reader.run("return document.getElementById('table').offsetHeight > 0") is True


def test_everything_can_be_done_with_the_keyboard(reader: Reader, page: Path) -> None:
    reader.read(page)
    seen = []
    for _ in range(60):
        reader.driver.switch_to.active_element.send_keys(Keys.TAB)
        focus = reader.driver.switch_to.active_element
        seen.append(focus.get_attribute("id") or focus.get_attribute("class") or focus.tag_name)
        if seen[-1] == "pick" and seen.count("pick") == MARKUP + 1:
            focus.send_keys(Keys.ENTER)
        if seen[-1] == "sort" and seen.count("sort") == 1:
            assert focus.value_of_css_property("outline-style") != "none"
            focus.send_keys(Keys.SPACE)
            focus.send_keys(Keys.SPACE)
        if seen[-1] == "run":
            break
    assert seen[0] == "skip"
    assert {"filter", "summary", "scroll", "sort", "pick", "group", "metric", "run"} <= set(seen)
    heading = "return document.querySelector(\"#table th[data-key='run']\").getAttribute('aria-sort')"
    assert reader.run(heading) == "descending"
    pressed = "return [...document.querySelectorAll('button.pick[aria-pressed=true]')].map(b => b.textContent)"
    (name,) = reader.run(pressed)
    chosen = Select(reader.driver.find_element(By.ID, "run")).first_selected_option.text
    assert name == chosen == reader.names()[MARKUP]


def test_every_control_has_a_name(reader: Reader, page: Path) -> None:
    reader.read(page)
    nameless = reader.run(
        "return [...document.querySelectorAll('input, select, button, [role]')].filter("
        "one => !(one.labels && one.labels.length) && !one.textContent.trim() && !one.ariaLabel "
        "&& !one.getAttribute('aria-labelledby') && one.id !== 'count').map(one => one.outerHTML)"
    )
    assert nameless == []


def test_columns_and_curves_can_be_chosen(reader: Reader, page: Path, finished_run: Finished) -> None:
    reader.read(page)
    hidden = "return document.querySelector(\"#table th[data-key='unique_weights']\").hidden"
    assert reader.run(hidden) is True
    reader.driver.find_element(By.CSS_SELECTOR, ".columns summary").click()
    (box,) = reader.driver.find_elements(By.XPATH, "//label[normalize-space()='unique']/input")
    box.click()
    assert reader.run(hidden) is False
    Select(reader.driver.find_element(By.ID, "metric")).select_by_value("codebook_size")
    curves = reader.run("return document.getElementById('curves').data.map(t => t.y)")
    assert curves == [[record.codebook_size for record in finished_run.records]] * 5
    Select(reader.driver.find_element(By.ID, "group")).select_by_value("")
    assert reader.run("return document.getElementById('pareto-bits').data.filter(t => t.customdata).length") == 1
