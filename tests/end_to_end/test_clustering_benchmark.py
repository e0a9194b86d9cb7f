"""benchmarks/clustering.py measures every figure that a round must reach, and its table says whether it does."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import PROJECT

MUST_REACH = {
    "round over torch.sort": {"at_most": 0.6},
    "dense oracle over round": {"at_least": 100},
    "weights that differ from it": {"at_most": 0},
    "growth of seconds per weight": {"at_most": 1.2},
    "peak extra memory over mu and sigma": {"at_most": 2.0},
}
# Memory at a size at which what does not grow with the weights hardly counts.
ARGUMENTS = ("--runs", "2", "--fractions", "0.9", "--scale", "0.001", "--memory-weights", "10000000")


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="memory is measured on Linux only")
@pytest.mark.slow
def test_every_row_is_left_as_json_and_markdown_and_a_round_keeps_to_its_memory(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    command = [sys.executable, str(PROJECT / "benchmarks" / "clustering.py"), *ARGUMENTS, "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    saved = json.loads(file.read_text())
    assert saved["settings"]["weights"]["sort"] == 25_500
    assert saved["settings"]["weights"]["growth"] == [10_000, 100_000]
    rows = {row["what"]: row for row in saved["rows"]}
    for what, bound in MUST_REACH.items():
        row = rows[what]
        assert row["must_reach"] == bound
        assert row["fraction"] == 0.9
        assert row["ok"] or what not in ("weights that differ from it", "peak extra memory over mu and sigma"), row
    assert sum("student-t" in what for what in rows) == 2
    assert all(keeps_its_word(row) for row in saved["rows"])
    table = file.with_suffix(".md").read_text()
    assert table in done.stdout
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert [(line[0], line[-1]) for line in cells] == [
        (row["what"], "pass" if row["ok"] else "**FAIL**") for row in saved["rows"]
    ]


def keeps_its_word(row: dict[str, Any]) -> bool:
    """Whether a row's verdict compares the median of two values with its bound."""
    ((way, bound),) = row["must_reach"].items()
    measured = statistics.median(row["values"])
    ok = measured <= bound if way == "at_most" else measured >= bound
    return len(row["values"]) == 2 and row["measured"] == measured and row["ok"] == ok
