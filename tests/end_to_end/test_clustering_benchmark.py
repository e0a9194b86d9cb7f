"""The benchmark measures every figure that a round must reach, and its table says whether it does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import clustering as benchmark
from benchmarks import memory
from benchmarks.rows import Row, markdown

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
    assert fast.measured == 1.0 and fast.ok and slow.measured == 99 and not slow.ok
    assert fast.seconds == {"round": [0.9, 5.0, 1.0], "sort": [1.0] * 3}
    record = slow.record()
    assert (record["must_reach"], record["ok"], record["measured"]) == ({"at_least": 100}, False, 99)
    assert [cell.strip() for cell in markdown([slow]).splitlines()[2].strip("|").split("|")] == [
        "speed", "1 M", "1", ">= 100", "99", "89.1 to 495", "", "**FAIL**",
    ]  # fmt: skip


def test_full_numbers_of_weights() -> None:
    sizes = benchmark.Sizes()
    assert (sizes.sort, sizes.dense, sizes.heavy) == (25_500_000, 1_000_000, 1_000_000)
    assert (sizes.growth, sizes.memory) == ((10_000_000, 100_000_000), (25_500_000, 100_000_000))
    assert benchmark.FRACTIONS == (0.2, 0.9, 1.0) and benchmark.THREADS == 2


@pytest.mark.skipif(not memory.can_be_measured(), reason="memory is measured on Linux only")
@pytest.mark.slow
def test_the_benchmark_leaves_every_row_as_json_and_markdown_and_a_round_keeps_to_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Memory at a size at which what does not grow with the weights hardly counts.
    sizes = benchmark.Sizes(sort=20_000, dense=1000, growth=(5000, 20_000), memory=(10_000_000,), heavy=1000)
    monkeypatch.setattr(benchmark, "Sizes", lambda: sizes)
    monkeypatch.setattr(benchmark, "FRACTIONS", (0.9,))
    monkeypatch.setattr(benchmark, "HEAVY_SCALES", (0.3,))
    monkeypatch.setattr(sys, "argv", ["clustering.py", "--runs", "1", "--json", f"{tmp_path}/b.json"])
    threads = torch.get_num_threads()
    benchmark.main()
    torch.set_num_threads(threads)
    saved = json.loads((tmp_path / "b.json").read_text())
    rows = {row["what"]: row for row in saved["rows"]}
    for what, bound in BOUNDS.items():
        row = rows.pop(what)
        assert row["must_reach"] == bound and row["fraction"] == 0.9 and len(row["values"]) == 1
        assert row["ok"] or what not in ("weights that differ from it", "peak extra memory over mu and sigma"), row
    heavy, *real = rows.values()
    assert "student-t" in heavy["what"] and heavy["fraction"] == 1.0 and heavy["must_reach"] == {"at_most": 3.0}
    assert [row["must_reach"] for row in real] == [{"at_most": 1.0}] * benchmark.lite0.installed()
    table = (tmp_path / "b.md").read_text()
    assert table in capsys.readouterr().out and len(table.splitlines()) == 2 + len(saved["rows"])
