"""Two processes: what is not finite on one of them ends both, in the same words, and no checkpoint is written."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from pwfn.bayesian.posterior import to_bayesian
from pwfn.checkpoint import files
from pwfn.checkpoint.callback import Saver
from pwfn.checkpoint.run_state import RunState
from pwfn.checkpoint.spec import CheckpointSpec
from pwfn.training.phase import TrainingDiverged
from pwfn.training.signals import StopRequest
from tests.support.ranks import leave_together


def save(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    to_bayesian(network)
    if rank == 1:
        network[1].running_var[2] = math.inf
    saver = Saver(Path(folder), CheckpointSpec(None, None, 1), 0, RunState(), network, StopRequest())
    trainer: Any = SimpleNamespace(global_step=3, is_global_zero=rank == 0, world_size=2)
    saver.attach(trainer)
    with pytest.raises(TrainingDiverged) as error:
        saver.save()
    torch.save([str(error.value), error.value.on_all_ranks], f"{folder}/{rank}.pt")
    leave_together(folder, rank)


@pytest.mark.slow
def test_statistics_that_are_not_finite_on_one_rank_end_both(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(save, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first == second == [
        "1.running_var is not finite on rank 1 after step 3: try a smaller optimizer.lr", True
    ]  # fmt: skip
    assert files.files(tmp_path) == []
