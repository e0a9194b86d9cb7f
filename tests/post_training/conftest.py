"""Train the small network once for all tests of layer by layer clustering."""

from __future__ import annotations

import pytest
from torch import Tensor

from tests.support.layer_clustering import Net, trained_network


@pytest.fixture(scope="session")
def trained() -> tuple[Net, Tensor]:
    return trained_network()
