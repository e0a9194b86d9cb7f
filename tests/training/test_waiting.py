"""A network comes to the CPU in copies that are queued together and waited for once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pwfn.bayesian.regularizer import NoRegularizer
from pwfn.training.module import BayesianClassifier
from pwfn.training.waiting import move_to_cpu


def test_copies_from_a_gpu_are_queued_and_then_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    module, moved = nn.Linear(2, 2), nn.Linear.to

    def to(self: nn.Module, device: str, *, non_blocking: bool = False) -> nn.Module:
        done.append(f"{device}, {'queued' if non_blocking else 'waited for'}")
        return moved(self, device, non_blocking=non_blocking)

    monkeypatch.setattr(nn.Linear, "to", to)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: done.append(f"waited for {device}"))
    move_to_cpu(module)
    assert done == ["cpu, waited for"]  # also from a device that is not CUDA
    monkeypatch.setattr(nn.Parameter, "is_cuda", True, raising=False)
    move_to_cpu(module)
    assert done == ["cpu, waited for", "cpu, queued", "waited for cpu"]


def test_lightning_moves_a_network_so(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[nn.Module] = []
    monkeypatch.setattr("pwfn.training.module.move_to_cpu", moved.append)
    module = BayesianClassifier(nn.Linear(2, 2), NoRegularizer())
    assert module.cpu() is module
    assert moved == [module]
