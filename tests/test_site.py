"""The documents build as a site without a warning, and the site asks nobody for anything."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.browser import chromium, needs_chromium
from tests.support.project import PROJECT

PHONE = 390
WRAPPED = """
const tables = [...document.querySelectorAll('.md-content table:not([class])')];
return tables.length > 0 && tables.every((one) => one.closest('.md-typeset__scrollwrap'));
"""
# of the box of each table of three columns and more: how much it shows and holds, how far it scrolls, and where the
# first cell is before and after
BOXES = """
const boxes = [...document.querySelectorAll('.md-typeset__scrollwrap')];
return boxes.filter((box) => box.querySelector('th:nth-child(3)')).map((box) => {
  const cell = box.querySelector('td');
  const before = cell.getBoundingClientRect().left;
  box.scrollLeft = 100000;
  const scrolled = box.scrollLeft;
  const first = cell.getBoundingClientRect().left;
  const { left, right } = box.getBoundingClientRect();
  return { left, right, shows: box.clientWidth, holds: box.scrollWidth, scrolled, before, first };
});
"""

FETCHED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//", re.I)


def pages_of(nav: object) -> list[str]:
    """Return the files that a navigation names, in its order."""
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    assert isinstance(inner, list | type({}.values()))
    return [page for entry in inner for page in pages_of(entry)]


def test_every_document_has_its_place() -> None:
    pages = pages_of(yaml.safe_load((PROJECT / "mkdocs.yml").read_text())["nav"])
    assert len(pages) == len(set(pages))
    written = {path.name for path in (PROJECT / "docs").glob("*.md")}
    assert {page for page in pages if "/" not in page} == written


def test_the_index_has_the_sections_and_titles_of_the_navigation() -> None:
    sections = yaml.safe_load((PROJECT / "mkdocs.yml").read_text())["nav"]
    of_site = {
        heading: [next(iter(entry.items())) for entry in entries if isinstance(entry, dict)]
        for section in sections
        for heading, entries in section.items()
    }
    _, *parts = (PROJECT / "docs/index.md").read_text().split("\n## ")
    of_index = {part.partition("\n")[0]: re.findall(r"^- \[(.+?)\]\((\w+\.md)\)", part, re.MULTILINE) for part in parts}
    assert of_index == of_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning."""
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    built = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(built)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return built


@pytest.mark.slow
def test_the_site_fetches_nothing_and_has_its_reference(site: Path) -> None:
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    assert len(pages) > 30
    assert [path.name for path, text in pages.items() if FETCHED.search(text)] == []
    configuration = (site / "reference/configuration.html").read_text()
    assert "<code>clustering.start</code>" in configuration
    python = (site / "reference/python.html").read_text()
    assert "pwfn.compress" in python
    assert "calibration_loader" in python
    for wing in ("bayesian", "clustering", "curvature"):
        names = importlib.import_module(f"pwfn.{wing}").__all__
        assert [name for name in names if f"pwfn.{wing}.{name}" not in python] == []


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A Chromium as wide as a phone."""
    with chromium(f"--user-data-dir={tmp_path / 'chromium'}") as driver:
        size = {"width": PHONE, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield driver


@pytest.mark.slow
@pytest.mark.browser
@needs_chromium
def test_on_a_phone_a_wide_table_scrolls_in_its_box_and_the_page_does_not(site: Path, phone: webdriver.Chrome) -> None:
    for name in ("study", "glossary", "runtimes", "budget", "reference/configuration"):
        phone.get((site / f"{name}.html").as_uri())
        WebDriverWait(phone, 60).until(lambda driver: driver.execute_script(WRAPPED))
        assert phone.execute_script("return document.documentElement.scrollWidth") == PHONE, name
        boxes = phone.execute_script(BOXES)
        assert all(box["left"] >= 0 and box["right"] <= PHONE for box in boxes), name
        wide = [box for box in boxes if box["holds"] > box["shows"]]
        assert all(box["scrolled"] > 0 and 0 <= box["first"] <= box["before"] for box in wide), name  # stays in sight
        assert wide, name


def test_what_is_fetched_is_seen() -> None:
    assert FETCHED.search('<link rel="stylesheet" href="https://fonts.example/css">')
    assert not FETCHED.search('<a href="https://arxiv.org/abs/2309.13575">')
