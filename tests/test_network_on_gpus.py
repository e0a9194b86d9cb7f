"""Ranks agree over a process group that cannot send CPU tensors, as NCCL cannot: where GPUs train, the CPU clusters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from pwfn.codebook import AdditivePow2
from pwfn.network import FlatWeights, cluster_network, share_statistics
from pwfn.posterior import quantised_tensors, set_sigma, to_bayesian
from pwfn.prior import Pow2Distance
from pwfn.sigma_join import std_mu


def rank_main(rank: int, folder: str) -> None:
    dist.init_process_group("cuda:gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(rank)  # the ranks disagree about everything
    network = nn.Sequential(nn.Linear(20, 10), nn.BatchNorm1d(10))
    network[1].running_mean.normal_()
    to_bayesian(network)
    set_sigma(network, Pow2Distance())
    tensors = quantised_tensors(network)
    with pytest.raises(RuntimeError, match="backend type"):
        dist.broadcast(torch.zeros(1), 0)
    cluster_network(
        tensors, FlatWeights.of(tensors), fraction=0.7, threshold=1.0, inc=2.0, zero_fix=True,
        codebook=AdditivePow2(), sigma_join=std_mu,
    )  # fmt: skip
    share_statistics(network)
    torch.save(network.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_ranks_end_with_the_same_bits(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(rank_main, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    names = [name for name in first if "1.weight" not in name and "1.bias" not in name]
    assert len(names) > 8
    assert all(torch.equal(first[name], second[name]) for name in names)
