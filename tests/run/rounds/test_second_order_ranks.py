"""Two processes cluster one network by curvature: sums over both, one decision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors, to_bayesian
from pwfn.clustering import AdditivePow2, SecondOrder
from pwfn.clustering.sigma_join import std_mu
from pwfn.run.rounds.second_order_round import SecondOrderRound
from tests.support.ranks import leave_together

IMAGES = 40


def clustered(share: slice) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5))
    images = torch.randn(IMAGES, 1, 6, 6)[share]
    to_bayesian(network)
    result = SecondOrderRound(network, SecondOrder(rate=1e-4), AdditivePow2(6, 3), std_mu, images).run(0.7)[0]
    now = FlatWeights.of(quantized_tensors(network))
    assert torch.equal(now.mu, result.mu)
    return now.mu, now.assignment


def refused() -> str:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
    to_bayesian(network)
    images = torch.zeros(1 + dist.get_rank(), 1, 6, 6)
    with pytest.raises(ValueError, match="every process needs two images") as error:
        SecondOrderRound(network, SecondOrder(), AdditivePow2(), std_mu, images).run(1.0)
    return str(error.value)


def rank_main(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save([*clustered(slice(rank, None, 2)), refused()], f"{folder}/{rank}.pt")
    leave_together(folder, rank)


@pytest.mark.slow
@pytest.mark.multiprocess
def test_two_ranks_end_with_the_same_bits(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(rank_main, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert first[2] == second[2]
    alone = clustered(slice(0, None, 2))
    assert not torch.equal(alone[0], first[0])  # the other half of the images counts as well
