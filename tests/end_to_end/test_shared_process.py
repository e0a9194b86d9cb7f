"""Runs that share a process, as those of Hydra's basic launcher do: what one leaves behind for the next."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.distributed

from pwfn.run.settings import TrainSettings
from pwfn.run.start import run
from tests.support.project import SMALL, Compose

RUNS = 3  # benchmarks/sweep_memory.py makes 20, and looks at memory


def around() -> dict[str, object]:
    """What a run could leave changed in its process."""
    files = Path("/proc/self/fd")
    gc.collect()
    return {
        "environment": dict(os.environ),
        "figures": plt.get_fignums(),
        "process group": torch.distributed.is_available() and torch.distributed.is_initialized(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "folder": Path.cwd(),
        "threads": threading.active_count(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gradients": torch.is_grad_enabled(),
        "type": torch.get_default_dtype(),
        "files": len(list(files.iterdir())) if files.is_dir() else 0,
    }


@pytest.mark.slow
def test_runs_in_one_process_leave_it_as_it_was(small_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first = small_run(tmp_path / "first").records[-1].flat()  # imports, caches and thread pools come with the first
    small_run(tmp_path / "warm", "seed=1")
    before = around()
    for number in range(RUNS):
        # whoever ran before has drawn from the global streams, in his own way
        random.random(), np.random.rand(number), torch.rand(number)
        seed = 0 if number == RUNS - 1 else number
        record = small_run(tmp_path / str(number), f"seed={seed}").records[-1].flat()
    assert around() == before
    same = {key: value for key, value in record.items() if not key.endswith("seconds")}
    assert same == {key: first[key] for key in same}


def test_a_run_that_fails_leaves_nothing_either(composed: Compose, small_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from pwfn.config import build

    small_run(tmp_path / "warm")
    before = around()
    settings = build.load(TrainSettings, composed(*SMALL, "optimizer.lr=1e30", "schedule.rest_epochs=20"))
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(Exception, match=r"is no number|is not finite|nan|inf"),
    ):
        run(settings, {}, tmp_path / "broken", name="broken")
    assert around() == before
