"""A sweep, and the page of its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from pwfn.report import REPORT
from pwfn.report.page import write_report
from pwfn.run.start import Finished
from tests.support.runs.report_runs import Page, make_sweep


@pytest.fixture(scope="module")
def sweep(finished_run: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sweep(finished_run.folder, tmp_path_factory.mktemp("report") / "sweep")


@pytest.fixture(scope="module")
def page(sweep: Path) -> Page:
    assert write_report([sweep], sweep / REPORT) == 7
    return Page(sweep / REPORT)
