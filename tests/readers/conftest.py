"""The reader in C, compiled with sanitizers, and an artifact that it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.artifact.c_reader import SANITIZED, compiled
from tests.support.artifact.forge import whole


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("reader"), "dump.c", flags=SANITIZED)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("artifact"))
