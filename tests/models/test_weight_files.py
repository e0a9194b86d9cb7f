"""Every kind of file of weights that users bring: the exact tensors of it, or one line that says what to do."""

from __future__ import annotations

import argparse
import gc
import logging
import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pwfn.models.random_weights import new_head
from pwfn.models.state_dicts import find_state_dict, prefixes_taken_off
from pwfn.models.timm_model import ModelSpec, data_config
from pwfn.models.weight_files import read_weights
from tests.support.networks.weight_files import CLASSES, NAME, State, assert_same, build, network_of, prefixed, refused


def test_a_checkpoint_of_timms_train_py_loads(source: nn.Module, state: State, tmp_path: Path) -> None:
    """Its `args` are an argparse.Namespace, the one class that timm allows."""
    optimizer = torch.optim.SGD(source.parameters(), 0.1, momentum=0.9)
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    arguments = argparse.Namespace(model=NAME, lr=0.1, mean=(0.5,), opt_betas=None, nested=argparse.Namespace(a=1))
    content = {"epoch": 3, "arch": "test_resnet", "state_dict": state, "optimizer": optimizer.state_dict()}
    path = tmp_path / "model_best.pth.tar"
    torch.save(content | {"version": 2, "args": arguments, "metric": 87.5}, path)
    network, said = build(path)
    assert_same(network, state)
    assert torch.equal(network(images), source(images))
    assert said == []
    reference = timm.create_model(NAME, num_classes=CLASSES, checkpoint_path=str(path)).eval()
    assert torch.equal(network(images), reference(images))


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "net.", "model.", "backbone.", "model.net."],
)
@pytest.mark.parametrize("file", ["w.ckpt", "w.safetensors"])
def test_a_prefix_of_all_names_is_taken_off(state: State, tmp_path: Path, prefix: str, file: str) -> None:
    path = tmp_path / file
    if file == "w.ckpt":
        lightning = {"pytorch-lightning_version": "2.5", "hyper_parameters": {"lr": 0.1}, "loops": {"fit_loop": {}}}
        torch.save(lightning | {"state_dict": prefixed(state, prefix)}, path)
    else:
        save_file(prefixed(state, prefix), path)
    network, said = build(path)
    assert_same(network, state)
    assert said == [f"{path}: {prefix} is taken off the front of every name"]


def test_a_prefix_of_the_networks_own_names_stays() -> None:
    """Wrapped or not, the names that fit are among those that are tried, the shortest first."""
    own = {"encoder.a": torch.ones(1), "encoder.b": torch.ones(2)}
    assert [next(iter(found.tensors)) for found in prefixes_taken_off(find_state_dict(own, ema=True))] == [
        "a",
        "encoder.a",
    ]
    wrapped = prefixes_taken_off(find_state_dict(prefixed(own, "net."), ema=True))
    assert [next(iter(found.tensors)) for found in wrapped] == ["a", "encoder.a", "net.encoder.a"]


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net", "module", "weight", "ema"])
@pytest.mark.parametrize("inner", [None, "state_dict", "module"])
def test_a_wrapped_state_dict_is_found(state: State, tmp_path: Path, key: str, inner: str | None) -> None:
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3, key: {inner: state, "decay": 0.99} if inner else state, "optimizer": {"state": {}}}, path)
    assert_same(build(path)[0], state)


def test_what_is_no_tensor_is_passed_over(state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(state | {"epoch": 3, "name": "mine"}, path)
    network, said = build(path)
    assert_same(network, state)
    assert said == [f"{path}: what is no tensor is passed over (epoch, name)"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_widths_are_converted(state: State, tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "w.safetensors"
    narrow = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    save_file(narrow, path)
    network, _ = build(path)
    assert_same(network, {n: v.float() if v.is_floating_point() else v for n, v in narrow.items()})


def as_facebook_wrote_it(state: State) -> State:
    """The names of ConvNeXt's first release, which timm translates; its classifier is called `head` there."""
    names = {}
    for name in state:
        own = name.replace("stem.", "downsample_layers.0.").replace(".blocks.", ".")
        own = re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", own)
        own = own.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        names[name] = own.replace("head.fc.", "head.").replace("head.norm.", "norm.")
    return {names[name]: value for name, value in state.items()}


@pytest.mark.parametrize("classes", [CLASSES, 7, None])
def test_another_layout_that_timm_knows_is_loaded_with_its_head(tmp_path: Path, classes: int | None) -> None:
    theirs = network_of("test_convnext", 3)
    path = tmp_path / "facebook.pth"
    torch.save({"model": as_facebook_wrote_it(theirs.state_dict())}, path)
    network, said = build(path, classes, "test_convnext")
    assert said == []
    own = network.state_dict()
    kept = [name for name in own if classes != 7 or not name.startswith("head.fc.")]
    assert all(torch.equal(own[name], theirs.state_dict()[name]) for name in kept)
    assert network.num_classes == (classes or CLASSES)
    line = new_head(ModelSpec("test_convnext", checkpoint=str(path)), network)
    assert (line is None) == (classes != 7)
    assert line is None or "for 3 classes and the data has 7" in line


@pytest.mark.parametrize("name", timm.list_models("test_*"))
def test_every_small_model_is_loaded_as_timm_loads_it(name: str, tmp_path: Path) -> None:
    theirs, path = network_of(name, 4), tmp_path / "w.pth"
    torch.save({"state_dict": theirs.state_dict()}, path)
    reference = timm.create_model(name, num_classes=CLASSES, checkpoint_path=str(path)).eval()
    network, said = build(path, name=name)
    images = torch.randn(1, *data_config(network)["input_size"], generator=torch.Generator().manual_seed(1))
    assert torch.equal(network(images), reference(images))
    assert torch.equal(network(images), theirs(images))
    assert said == []


def test_nothing_of_timms_own_log_is_shown(
    state: State, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Gray weights for a gray network, and a classifier for other classes: timm warns of both."""
    gray = {n: v[:, :1].clone() if n == "conv1.0.weight" else v for n, v in state.items()}
    path = tmp_path / "gray.pth"
    torch.save(gray, path)
    with caplog.at_level(logging.WARNING):
        network = ModelSpec(NAME, checkpoint=str(path)).build(num_classes=7, in_chans=1)
    assert torch.equal(network.state_dict()["conv1.0.weight"], gray["conv1.0.weight"])
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")
    assert logging.getLogger("timm").propagate
    assert logging.getLogger("timm").handlers == []


def test_the_file_is_not_kept_in_memory(state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    network, _ = build(path)
    gc.collect()
    own = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    shape = state["fc.weight"].shape
    tensors = [o for o in gc.get_objects() if issubclass(type(o), Tensor)]  # isinstance asks dead weak proxies too
    same = [o for o in tensors if o.shape == shape and not o.is_meta]
    equal = [o for o in same if torch.equal(o.detach(), state["fc.weight"])]
    assert {o.untyped_storage().data_ptr() for o in equal} - own <= {state["fc.weight"].untyped_storage().data_ptr()}
    assert "state_dict" not in network.pretrained_cfg


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w"])
def test_safetensors_are_read_whatever_the_file_is_called(state: State, tmp_path: Path, name: str) -> None:
    save_file(state, tmp_path / name)
    assert_same(build(tmp_path / name)[0], state)
    torch.save(state, tmp_path / "w.safetensors")
    assert refused(tmp_path / "w.safetensors").endswith("was written by torch.save: give it the ending .pth")


def test_a_header_whose_length_looks_like_a_text_is_read(tmp_path: Path) -> None:
    file, state = tmp_path / "w.safetensors", {"fc.weight": torch.ones(2)}
    save_file(state, file, {"note": ""})
    length = int.from_bytes(b" <".ljust(8, b"\0"), "little")
    save_file(state, file, {"note": "x" * (length - int.from_bytes(file.read_bytes()[:8], "little"))})
    assert file.read_bytes().lstrip().startswith(b"<")
    assert torch.equal(read_weights(file).tensors["fc.weight"], state["fc.weight"])
