"""The benchmark measures every figure that a round must reach, and its table says whether it does."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from tests.support import efficientnet_lite0
from tests.support.benchmark_rows import Row, markdown
from tests.support.peak_memory import can_be_measured
from tests.support.project import Program
from tests.support.round_memory import peak_extra_bytes

BOUNDS = {
    "round over torch.sort": {"at_most": 1.0},
    "dense oracle over round": {"at_least": 100},
    "weights that differ from it": {"at_most": 0},
    "growth of seconds per weight": {"at_most": 1.2},
    "peak extra memory over mu and sigma": {"at_most": 2.0},
}


def test_a_row_compares_the_median_with_its_bound() -> None:
    fast, slow = Row("one | other", "1 M", 0.2, 1.0), Row("speed", "1 M", 1.0, 100, at_least=True)
    for value in (0.9, 5.0, 1.0):
        fast.add(value, round=value, sort=1.0)
        slow.add(99 * value)
    assert fast.measured == 1.0
    assert fast.ok
    assert slow.measured == 99
    assert not slow.ok
    assert fast.seconds == {"round": [0.9, 5.0, 1.0], "sort": [1.0] * 3}
    record = slow.record()
    assert (record["must_reach"], record["ok"], record["measured"]) == ({"at_least": 100}, False, 99)
    assert [cell.strip() for cell in markdown([slow]).splitlines()[2].strip("|").split("|")] == [
        "speed", "1 M", "1", ">= 100", "99", "89.1 to 495", "", "**FAIL**",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_benchmark_leaves_every_row_as_json_and_markdown(program: Program, tmp_path: Path) -> None:
    done = program(tmp_path, "benchmarks/clustering.py", "--runs", "1", "--scale", "0.001", "--json", "b.json")
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "b.json").read_text())
    for what, bound in BOUNDS.items():
        rows = [row for row in saved["rows"] if row["what"] == what]
        assert {row["fraction"] for row in rows} == {0.2, 0.9, 1.0}
        assert all(row["must_reach"] == bound and len(row["values"]) == 1 for row in rows)
        assert all(row["ok"] for row in rows) or what != "weights that differ from it"
    others = [row for row in saved["rows"] if row["what"] not in BOUNDS]
    heavy = [row for row in others if "student-t" in row["what"]]
    assert len(heavy) == 2
    assert all(row["must_reach"] == {"at_most": 3.0} for row in heavy)
    assert [row["fraction"] for row in others if row not in heavy] == [0.2, 0.9, 1.0] * efficientnet_lite0.installed()
    table = (tmp_path / "b.md").read_text()
    assert table in done.stdout
    assert len(table.splitlines()) == 2 + len(saved["rows"])


@pytest.mark.skipif(not can_be_measured(), reason="memory is measured on Linux only")
@pytest.mark.slow
def test_a_round_keeps_to_its_memory() -> None:
    weights = 10_000_000  # a number at which what does not grow with the weights hardly counts
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        needed = pool.apply(peak_extra_bytes, (weights, 0.9))
    assert 0.5 < needed / (8 * weights) <= 2.0  # of the bytes of mu and sigma
