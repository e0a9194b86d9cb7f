"""Averaged weights are read as timm reads them, and weights that are not read are named."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.networks.weight_files import NAME, State, assert_same, build, network_of


def test_counters_of_other_tools_are_passed_over(source: nn.Module, state: State, tmp_path: Path) -> None:
    """torchvision's training script averages with torch's AveragedModel; thop counts operations in every module."""
    averaged = torch.optim.swa_utils.AveragedModel(source).state_dict()
    assert "n_averaged" in averaged
    assert "module.fc.weight" in averaged
    path = tmp_path / "model_299.pth"
    torch.save({"model": network_of(NAME, 6).state_dict(), "model_ema": averaged, "args": argparse.Namespace()}, path)
    network, said = build(path)
    assert_same(network, state)
    assert said == [
        f"{path}: the weights are those of model_ema (model.ema=false takes model); "
        "module. is taken off the front of every name"
    ]
    counted = {"total_ops": torch.ones(1), "fc.total_params": torch.ones(1)}
    torch.save(state | counted, path)
    assert_same(build(path)[0], state)


@pytest.mark.parametrize(
    ("averaged", "raw"), [("state_dict_ema", "state_dict"), ("model_ema", "model"), ("ema", "net")]
)
def test_averaged_weights_are_taken_as_timm_does_and_said(
    state: State, tmp_path: Path, averaged: str, raw: str
) -> None:
    other, path = network_of(NAME, 6).state_dict(), tmp_path / "w.pth.tar"
    torch.save({raw: state, averaged: other}, path)
    network, said = build(path)
    assert_same(network, other)
    assert said == [f"{path}: the weights are those of {averaged} (model.ema=false takes {raw})"]
    network, said = build(path, ema=False)
    assert_same(network, state)
    assert said == [f"{path}: the weights are those of {raw} (model.ema=true takes {averaged})"]
    torch.save({raw: state}, path)
    assert build(path)[1] == []


def test_averaged_weights_alone_are_said_where_raw_ones_are_asked_for(state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict_ema": state}, path)
    assert build(path)[1] == []
    network, said = build(path, ema=False)
    assert_same(network, state)
    assert said == [f"{path}: the weights are those of state_dict_ema: there are no raw ones for model.ema=false"]


@pytest.mark.parametrize("other", ["net", "swa_state_dict", "EMA", "teacher"])
def test_weights_that_are_not_read_are_said(state: State, tmp_path: Path, other: str) -> None:
    trained = network_of(NAME, 7)
    optimizer = torch.optim.SGD(trained.parameters(), 0.1, momentum=0.9)
    trained(torch.ones(2, 3, 96, 96)).sum().backward()
    optimizer.step()
    path = tmp_path / "w.pth"
    content = {"state_dict": state, "optimizer": optimizer.state_dict()}
    torch.save(content | {other: {"decay": 0.9, "shadow": network_of(NAME, 6).state_dict()}}, path)
    network, said = build(path)
    assert_same(network, state)
    assert said == [f"{path}: state_dict is read, the weights of {other} are not"]
    torch.save(content, path)
    assert build(path)[1] == []
