"""benchmarks/peers.py compresses the network of a run with other packages, or says how to install them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from pwfn.run.start import Finished
from tests.support.project import PROJECT, clean_environment

PROGRAM = PROJECT / "benchmarks" / "peers.py"

pytestmark = pytest.mark.slow


def test_a_finished_run_has_its_own_rows_and_those_of_installed_peers(finished_run: Finished, tmp_path: Path) -> None:
    out = tmp_path / "peers.json"
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(finished_run.folder), "--qp", "-24", "--json", str(out)],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=1800,
    )
    rows = json.loads(out.read_text())
    assert [row["peer"] for row in rows[:2]] == ["float32", "model.pwfn"]
    assert rows[0]["top1"] == pytest.approx(finished_run.baseline.top1)
    assert rows[1]["top1"] == pytest.approx(finished_run.records[-1].clustered.top1)
    peers = {"nncodec": "nncodec", "nncodec-integers": "nncodec", "coremltools": "coremltools", "dkm": "coremltools"}
    missing = {name for name, module in peers.items() if find_spec(module) is None}
    assert {line.split(":")[0] for line in done.stdout.splitlines() if "missing  pip install" in line} == missing
    assert {row["peer"] for row in rows[2:]} == peers.keys() - missing
    same = [row["bit for bit"].split() for row in rows if row["peer"] == "nncodec-integers"]
    assert [words[0] for words in same] == [words[2] for words in same]
