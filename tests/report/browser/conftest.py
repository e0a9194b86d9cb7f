"""The report of a sweep, and a browser that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pwfn.report import REPORT
from pwfn.report.page import write_report
from pwfn.run.start import Finished
from tests.support.browser import Reader, chromium
from tests.support.runs.report_runs import make_sweep


@pytest.fixture(scope="module")
def page(finished_run: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sweep = make_sweep(finished_run.folder, tmp_path_factory.mktemp("report_browser") / "sweep")
    write_report([sweep], sweep / REPORT)
    return sweep / REPORT


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with chromium(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}", logged=True) as driver:
        yield Reader(driver)
