"""Build small networks from files of weights, and compare what was built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from pwfn.models.timm_model import ModelError, ModelSpec

NAME = "test_resnet.r160_in1k"
CLASSES = 3
State = dict[str, Tensor]


def network_of(name: str, seed: int, classes: int = CLASSES) -> nn.Module:
    torch.manual_seed(seed)
    network: nn.Module = timm.create_model(name, num_classes=classes).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
    return network


def build(path: Path, classes: int | None = CLASSES, name: str = NAME, **options: Any) -> tuple[nn.Module, list[str]]:
    """Build with the weights of a file, and return what was said of them as well."""
    torch.manual_seed(0)
    said: list[str] = []
    network = ModelSpec(name, checkpoint=str(path), **options).build(num_classes=classes, in_chans=3, say=said.append)
    return network.eval(), said


def refused(path: Path, name: str = NAME) -> str:
    with pytest.raises(ModelError) as caught:
        build(path, name=name)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 700
    return line


def assert_same(network: nn.Module, state: State) -> None:
    built = network.state_dict()
    assert built.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(built[name], value), name


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}
