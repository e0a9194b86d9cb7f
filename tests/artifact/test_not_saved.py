"""What `pwfn.save` refuses, and a write that fails, leave no file and the old one whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

import pwfn
from pwfn.bayesian.posterior import quantized_tensors
from tests.support.clustered import clustered, same_bits
from tests.support.full_disk import files_of_at_most


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.zeros(3, dtype=torch.complex64))


def test_a_network_that_timm_does_not_build_is_loaded_into_one_that_is_given(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5))

    model, other = build().eval(), build()
    with pytest.warns(UserWarning, match="will not say how to build"):
        pwfn.save(tmp_path / "model", model)
    assert pwfn.describe(tmp_path / "model")["model"] is None
    with pytest.raises(pwfn.ArtifactError, match="model="):
        pwfn.load(tmp_path / "model")
    assert pwfn.load(tmp_path / "model", model=other) is other
    assert all(same_bits(other.state_dict()[key], value) for key, value in model.state_dict().items())
    with pytest.raises(pwfn.ArtifactError, match=r"3\.bias is \[5\] float32 in the file and \[4\] float32"):
        pwfn.load(tmp_path / "model", model=nn.Sequential(*list(build())[:3], nn.Linear(8, 4)))


@pytest.mark.slow
def test_a_recipe_that_does_not_build_the_network_is_refused(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=5, img_size=32)
    for wrong, said in (
        ({"name": "test_vit"}, "pos_embed"),  # of another image size
        ({"name": "test_vit", "args": {"img_size": 32, "checkpoint_path": "x"}}, "checkpoint_path"),
        ({"name": "test_vit", "args": {"img_size": 32, "depth": 3.5}}, "depth"),
        ({"name": "vit_test"}, "not the name of a timm model"),
        ({"name": "hf-hub:timm/test_vit"}, "not the name of a timm model"),
        ({"name": "test_vit.nothing"}, "tag"),
    ):
        with pytest.raises(pwfn.ArtifactError, match=said):
            pwfn.save(tmp_path / "model", model, **wrong)
    with pytest.warns(UserWarning, match="pos_embed"):
        pwfn.save(tmp_path / "model", model)
    pwfn.save(tmp_path / "model", model, args={"img_size": 32, "patch_size": None})
    assert pwfn.describe(tmp_path / "model")["model"]["args"] == {"img_size": 32}


def test_weights_that_left_their_entry_are_refused(tmp_path: Path) -> None:
    network = clustered("test_resnet")
    tensor = quantized_tensors(network)[3]
    tensor.mu.data.flatten()[5] += 1e-6
    with pytest.raises(pwfn.ArtifactError, match=f"{tensor.name} has fixed weights that are not their codebook entry"):
        pwfn.save(tmp_path / "model", network)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Linear(3, 3).half(), "float32"),
        (nn.Sequential(nn.BatchNorm2d(3)), "no weights"),
        (nn.Sequential(nn.Linear(3, 3), Complex()), "complex64"),
    ],
    ids=["half", "none", "complex"],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_stored_is_refused_before_a_file_is_made(model: nn.Module, said: str, tmp_path: Path) -> None:
    with pytest.raises(pwfn.ArtifactError, match=said) as error:
        pwfn.save(tmp_path / "model", model)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwfn.save(tmp_path / "model", clustered("test_resnet"))
    before = (tmp_path / "model").read_bytes()

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        pwfn.save(tmp_path / "model", clustered("test_nfnet"))
    assert (tmp_path / "model").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path, network = tmp_path / "model.pwfn", clustered("test_nfnet")
    pwfn.save(path, clustered("test_resnet"))
    before = path.read_bytes()
    with files_of_at_most(20_000), pytest.raises(OSError, match="File too large"):
        pwfn.save(path, network)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    pwfn.save(path, network)
    assert len(path.read_bytes()) > 20_000
