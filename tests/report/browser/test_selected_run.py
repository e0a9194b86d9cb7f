"""report.html in a real headless Chromium: one run is selected, and its details are shown."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from pwfn.run.start import Finished
from tests.support.browser import MARKS, PHONE, Reader

pytestmark = MARKS
BEST, MARKUP, FAILED, ENDED = 2, 1, 3, 4  # rows of the page


def test_the_details_are_those_of_the_selected_run(reader: Reader, page: Path, finished_run: Finished) -> None:
    reader.read(page)
    last = finished_run.records[-1]
    rows = "return document.querySelectorAll(`[data-slot='${arguments[0]}'] tbody tr`).length"
    assert reader.run(rows, "rounds-table") == len(finished_run.records)
    assert reader.run(rows, "codebook-table") == last.codebook_size
    assert reader.run(rows, "layers-table") > 10
    bars = reader.run("return document.getElementById('codebook').data[0].y")
    assert sum(bars) == json.loads((page.parent / "2_b=6/weights.json").read_text())["weights"]
    reader.run("document.querySelectorAll('button.pick')[arguments[0]].click()", FAILED)
    shown = reader.driver.find_element(By.ID, "run-details").text
    assert shown.count("Not recorded.") == 3
    assert "No round was finished." in shown
    assert "versions" in shown
    reader.run("document.querySelectorAll('button.pick')[arguments[0]].click()", ENDED)
    assert reader.run(rows, "rounds-table") == len(finished_run.records)
    assert reader.driver.find_element(By.ID, "run-details").text.count("Not recorded.") == 2


def test_a_click_on_a_point_selects_its_run(reader: Reader, page: Path) -> None:
    reader.read(page)
    reader.run("document.getElementById('pareto-bits').emit('plotly_click', {points: [{customdata: arguments[0]}]})", 6)
    assert Select(reader.driver.find_element(By.ID, "run")).first_selected_option.text == "10_b=6"
    assert reader.run("return document.querySelector('tr.selected').dataset.run") == "6"


def test_the_command_of_the_selected_run_can_be_copied(reader: Reader, page: Path) -> None:
    reader.read(page)
    reader.run("window.copied = []; document.execCommand = () => copied.push(document.activeElement.value)")
    reader.run("Object.defineProperty(navigator, 'clipboard', {value: undefined})")  # as where a page is not let at it
    reader.driver.find_element(By.ID, "copy").click()
    reader.wait("return document.getElementById('copied').textContent !== ''")
    (command,) = reader.run("return copied")
    shown = reader.run("return [...document.querySelectorAll(\"[data-slot='repeat'] dd\")].map(one => one.textContent)")
    assert command == shown[0]
    assert command
    assert reader.driver.find_element(By.ID, "copied").text == f"Copied: {command}"


def test_what_a_run_was_is_shown_with_links_to_its_files(reader: Reader, page: Path) -> None:
    reader.read(page)
    shown = reader.driver.find_element(By.CSS_SELECTOR, "[data-slot='facts']").text
    for word in ("network", "images", "pretrained", "tolerance", "60 test images"):
        assert word in shown
    links = reader.driver.find_elements(By.CSS_SELECTOR, "[data-slot='files'] a")
    assert {link.text for link in links} >= {"config.yaml", "summary.json"}
    assert all(Path(unquote(str(link.get_attribute("href"))).removeprefix("file://")).exists() for link in links)


def test_on_a_phone_no_text_of_a_cell_lies_over_the_next_one(reader: Reader, page: Path) -> None:
    reader.read(page, width=PHONE)
    over = "return [...document.querySelectorAll('tbody th')].filter(one => one.scrollWidth > one.clientWidth).length"
    assert reader.run("return document.querySelectorAll(\"[data-slot='layers-table'] tbody th\").length") > 10
    assert reader.run(over) == 0
