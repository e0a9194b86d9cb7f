"""A file without usable weights is refused in one line that says what to do."""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn

from tests.support.networks.weight_files import CLASSES, State, assert_same, build, network_of, prefixed, refused


class _Hyper:
    """A class of the user's own."""


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (functools.partial(torch.optim.SGD, lr=0.1), "functools.partial"),
        (OmegaConf.create({"lr": 0.1}), "omegaconf."),
        (_Hyper(), f"{__name__}._Hyper"),
    ],
)
def test_a_class_in_the_way_is_named(state: State, tmp_path: Path, value: Any, named: str) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": prefixed(state, "net."), "hyper_parameters": {"optimizer": value}}, path)
    line = refused(path)
    assert f"needs the class {named}" in line
    assert "torch.save(torch.load(file, weights_only=False)['state_dict'], 'weights.pth')" in line
    content = torch.load(path, weights_only=False)  # what the line says to do
    torch.save(content["state_dict"], tmp_path / "weights.pth")
    assert_same(build(tmp_path / "weights.pth")[0], state)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_pickled_network_is_one_line(source: nn.Module, state: State, tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "whole.pth"
    torch.save(source, path, _use_new_zipfile_serialization=zipped)
    line = refused(path)
    assert "holds a whole pickled network (timm.models.resnet." in line
    assert "torch.save(network.state_dict(), 'weights.pth')" in line
    torch.save({"model": nn.Sequential(nn.Linear(2, 2))}, path, _use_new_zipfile_serialization=zipped)
    assert "holds a whole pickled network (torch.nn.modules.container.Sequential)" in refused(path)


def test_other_keys_are_listed(state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3, "generator": state, "lr": 0.1}, path)
    assert refused(path).endswith("holds no state dict; its keys are epoch, generator, lr")
    torch.save({f"key{i}": i for i in range(9)}, path)
    assert refused(path).endswith("key5 and 3 more")
    torch.save({}, path)
    assert refused(path).endswith("its keys are (none)")


@pytest.mark.parametrize(
    ("dtype", "save"),
    # safetensors 0.6 writes no complex numbers
    [(torch.float8_e4m3fn, save_file), (torch.float8_e5m2, save_file), (torch.complex64, torch.save)],
)
def test_unusable_kinds_of_numbers_are_one_line(
    state: State, tmp_path: Path, dtype: torch.dtype, save: Callable[[State, Path], None]
) -> None:
    path = tmp_path / ("w.safetensors" if save is save_file else "w.pth")
    save(state | {"fc.weight": state["fc.weight"].to(dtype)}, path)
    line = refused(path)
    assert f"holds {str(dtype).removeprefix('torch.')} weights, the first in fc.weight" in line


def test_whole_numbers_are_no_weights(state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state | {"fc.weight": torch.zeros_like(state["fc.weight"], dtype=torch.int8)}, path)
    assert "fc.weight holds whole numbers (int8)" in refused(path)


def test_another_network_is_one_short_line(state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    torch.save({"state_dict": network_of("test_vit", 1).state_dict()}, path)
    line = refused(path)
    assert "they do not fit, missing are bn1.bias" in line
    assert "; too many are" in line
    assert line.count("more") == 2
    shallow = timm.create_model("resnet10t", num_classes=CLASSES)
    torch.save(shallow.state_dict(), path)
    assert "; missing are layer1.0.bn3.bias" in refused(path, "resnet14t")
    torch.save(state | {"conv1.0.weight": torch.zeros(1, 3, 3, 3)}, path)
    assert "conv1.0.weight is [1, 3, 3, 3] in the file and [" in refused(path)


@pytest.mark.parametrize(
    "make", [lambda p: p.write_bytes(b"PK\x03\x04" * 9), lambda p: p.write_text("<html>404</html>")]
)
def test_files_of_other_kinds_are_one_line(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    for name in ("w.pth", "w.safetensors", "w.pwfn", "w.npz"):
        make(tmp_path / name)
        refused(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html>\n<html>", "is no file of weights, but a text that begins with <!DOCTYPE html>"),
        (b'{"weight_map": {}}', "is no file of weights, but a text"),
        (b"nothing of the kind", "neither torch.save nor safetensors has written it, or it is damaged"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.bin"])
def test_what_is_no_file_of_weights_is_said(content: bytes, line: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    found = refused(tmp_path / name)
    assert line in found
    assert "weights_only" not in found  # torch's own advice


def test_archives_of_other_kinds_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", weight=np.zeros(3))
    assert "is a zip archive that torch.save has not written; it holds weight.npy" in refused(tmp_path / "w.npz")
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:  # as torch.jit.save lays it out
        for name in ("data.pkl", "code/net.py", "constants.pkl"):
            archive.writestr(f"net/{name}", "")
    assert "is a TorchScript archive, which holds code" in refused(tmp_path / "w.pt")


def test_a_normalized_weight_is_no_network_of_a_run(tmp_path: Path) -> None:
    state = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)).state_dict()
    torch.save({f"fc.{name}": value for name, value in state.items()}, tmp_path / "w.pth")
    assert "; too many are bias, parametrizations.weight.original0, " in refused(tmp_path / "w.pth")
