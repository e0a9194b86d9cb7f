"""The files of a run are a start, or name the file that is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pwfn.models.state_dicts import find_state_dict
from pwfn.models.timm_model import ModelSpec
from pwfn.models.weight_files import read_weights
from tests.support.networks.weight_files import NAME, assert_same, refused


def test_what_a_run_keeps_for_itself_names_what_to_start_from(finished_run: Any) -> None:
    folder: Path = finished_run.folder
    for name in ("network.safetensors", "trained.safetensors"):
        line = refused(folder / name)
        assert "is the Bayesian network of a run" in line
        assert "pretrained.safetensors" in line
        assert "model.pwfn" in line
    checkpoint = {"format": 2, "state": {}, "network": {"w": torch.ones(1)}, "ranks": 1}
    with pytest.raises(
        ValueError, match=r"^is a checkpoint of a run, which resume=<its folder> goes on with.*model.pwfn"
    ):
        find_state_dict(checkpoint, ema=True)


def test_a_compressed_network_is_a_start(finished_run: Any) -> None:
    from pwfn import artifact

    path: Path = finished_run.folder / "model.pwfn"
    stored = artifact.load(path).state_dict()
    built = ModelSpec(NAME, checkpoint=str(path)).build(num_classes=10, in_chans=1)
    assert_same(built, stored)
    path = finished_run.folder / "pretrained.safetensors"
    assert_same(ModelSpec(NAME, checkpoint=str(path)).build(num_classes=10, in_chans=1), read_weights(path).tensors)


def test_a_damaged_artifact_is_one_line(finished_run: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.pwfn"
    path.write_bytes((finished_run.folder / "model.pwfn").read_bytes()[:-9])
    refused(path)
