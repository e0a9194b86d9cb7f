"""The checks for the first GPU work, as far as a CPU can tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.project import PROJECT, clean_environment


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/gpu.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False, env=clean_environment())


@pytest.mark.slow
def test_the_checks_for_a_gpu_run_on_the_cpu(tmp_path: Path) -> None:
    written = tmp_path / "gpu.json"
    done = check("--smoke", "--only", "kernels", "steps", "clustering", "--json", str(written))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(written.read_text())["rows"]
    assert [row["check"] for row in rows] == [
        *["kernels equal the reference"] * 3, *["step over ordinary step"] * 4, "clustering round, seconds"
    ]  # fmt: skip
    assert all(row["value"] is not None for row in rows)
    assert all(row["ok"] for row in rows if row["counts"])


@pytest.mark.slow
def test_what_is_not_reached_in_time_is_no_success(tmp_path: Path) -> None:
    done = check("--smoke", "--only", "memory", "steps", "--minutes", "0", "--json", str(tmp_path / "gpu.json"))
    assert done.returncode == 1
    assert "not reached in time" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so() -> None:
    done = check()
    assert done.returncode == 1
    assert done.stderr == "there is no GPU here that torch can use; --smoke runs the checks on the CPU\n"
