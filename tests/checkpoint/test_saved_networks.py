"""Saved networks: readable for everyone the umask lets, and whole also where the disk is full."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from pwfn.bayesian.posterior import to_bayesian
from pwfn.checkpoint import saved_networks
from pwfn.checkpoint.saved_run import NotAFinishedRun
from pwfn.records import files
from pwfn.records.files import NETWORK, PRETRAINED, NotWritten


def network(value: float = 0.5) -> nn.Module:
    made = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    nn.init.constant_(made[0].weight, value)
    to_bayesian(made)
    return made


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_they_honor_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        saved_networks.save(tmp_path, network(), 0)
        saved_networks.save_pretrained(tmp_path, network())
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (NETWORK, PRETRAINED)} == {mode}


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full(*_: Any, **__: Any) -> None:
    raise SafetensorError("I/O error: No space left on device\n (os error 28)")


@pytest.mark.parametrize(
    ("owner", "name", "by"),
    [(files.os, "fsync", no_space), (saved_networks, "save_model", full), (saved_networks, "save_model", no_space)],
)
def test_a_full_disk_leaves_the_network_of_the_round_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, by: Any
) -> None:
    saved_networks.save(tmp_path, network(0.5), 0)
    monkeypatch.setattr(owner, name, by)
    with pytest.raises(NotWritten, match=r"network\.safetensors cannot be written \(.*No space left") as error:
        saved_networks.save(tmp_path, network(0.25), 1)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [NETWORK]
    read = network(0.0)
    saved_networks.load(tmp_path, read, 0)
    torch.testing.assert_close(read[0].weight, torch.full((3, 4), 0.5))


@pytest.mark.parametrize(
    ("tensor", "named"),
    [
        ("0.parametrizations.weight.original", r"0\.weight"),
        ("0.parametrizations.weight.0.sigma", r"sigma of 0\.weight"),
        ("1.running_var", r"1\.running_var"),
    ],
)
def test_a_network_that_is_not_finite_is_refused(tmp_path: Path, tensor: str, named: str) -> None:
    damaged = network()
    with torch.no_grad():
        damaged.state_dict()[tensor].flatten()[0] = float("nan")
    saved_networks.save(tmp_path, damaged, 0)
    with pytest.raises(NotAFinishedRun, match=rf"network\.safetensors is damaged: {named} holds NaN or infinity"):
        saved_networks.load(tmp_path, network(), 0)


def test_a_pretrained_network_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    damaged = network(float("inf"))
    saved_networks.save_pretrained(tmp_path, damaged)
    with pytest.raises(NotAFinishedRun, match=r"pretrained\.safetensors is damaged: 0\.weight holds NaN or infinity"):
        saved_networks.load_pretrained(tmp_path, network())


def test_an_infinite_buffer_may_be_a_bound(tmp_path: Path) -> None:
    bounded = network()
    bounded.register_buffer("bound", torch.tensor(float("inf")))
    saved_networks.save(tmp_path, bounded, 0)
    other = network(0.25)
    other.register_buffer("bound", torch.tensor(0.0))
    saved_networks.load(tmp_path, other, 0)
    assert other.get_buffer("bound").isinf()
