"""A small network whose weights the tests of files write."""

from __future__ import annotations

import pytest
from torch import nn

from tests.support.networks.weight_files import NAME, State, network_of


@pytest.fixture(scope="module")
def source() -> nn.Module:
    return network_of(NAME, 5)


@pytest.fixture(scope="module")
def state(source: nn.Module) -> State:
    return dict(source.state_dict())
