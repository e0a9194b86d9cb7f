"""A file of weights and a dry run that started with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.support.project import Compose
from tests.support.runs.dry_runs import run, settings


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights for test_resnet, whose biases are not all zero."""
    torch.manual_seed(4)
    model = timm.create_model("test_resnet", num_classes=1000)
    with torch.no_grad():
        model.fc.bias.normal_(0, 0.02)
        model.fc.bias[:5] = 0.0
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(model.state_dict(), str(path))
    return path


@pytest.fixture(scope="module")
def finished(composed: Compose, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    folder = tmp_path_factory.mktemp("dry")
    made = settings(composed, f"model.checkpoint={weights}")
    records, said = run(made, folder)
    return made, folder, records, said
