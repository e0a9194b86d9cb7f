"""The documents build as a site without a warning, and the site asks nobody for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.project import PROJECT

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
    index = (PROJECT / "docs/index.md").read_text()
    assert [page for page in written - {"index.md"} if f"]({page})" not in index] == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path: path.read_text() for path in (tmp_path / "site").rglob("*.html")}
    assert len(pages) > 30
    assert [path.name for path, text in pages.items() if FETCHED.search(text)] == []
    configuration = (tmp_path / "site/reference/configuration.html").read_text()
    assert "<code>clustering.start</code>" in configuration
    python = (tmp_path / "site/reference/python.html").read_text()
    assert "pwfn.compress" in python
    assert "calibration_loader" in python


def test_what_is_fetched_is_seen() -> None:
    assert FETCHED.search('<link rel="stylesheet" href="https://fonts.example/css">')
    assert not FETCHED.search('<a href="https://arxiv.org/abs/2309.13575">')
