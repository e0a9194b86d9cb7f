"""Every kind of file of weights that users bring: the exact tensors of it, or one line that says what to do."""

from __future__ import annotations

import argparse
import functools
import gc
import logging
import re
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
from torch import Tensor, nn

from pwfn.models.random_weights import new_head
from pwfn.models.state_dicts import find_state_dict, prefixes_taken_off
from pwfn.models.timm_model import ModelError, ModelSpec, data_config
from pwfn.models.weight_files import read_weights

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


@pytest.fixture(scope="module")
def source() -> nn.Module:
    return network_of(NAME, 5)


@pytest.fixture(scope="module")
def state(source: nn.Module) -> State:
    return dict(source.state_dict())


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


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net", "module", "weight", "ema"])
@pytest.mark.parametrize("inner", [None, "state_dict", "module"])
def test_a_wrapped_state_dict_is_found(state: State, tmp_path: Path, key: str, inner: str | None) -> None:
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3, key: {inner: state, "decay": 0.99} if inner else state, "optimizer": {"state": {}}}, path)
    assert_same(build(path)[0], state)


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


def test_other_keys_are_listed(state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3, "generator": state, "lr": 0.1}, path)
    assert refused(path).endswith("holds no state dict; its keys are epoch, generator, lr")
    torch.save({f"key{i}": i for i in range(9)}, path)
    assert refused(path).endswith("key5 and 3 more")
    torch.save({}, path)
    assert refused(path).endswith("its keys are (none)")


def test_what_is_no_tensor_is_passed_over(state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(state | {"epoch": 3, "name": "mine"}, path)
    network, said = build(path)
    assert_same(network, state)
    assert said == [f"{path}: what is no tensor is passed over (epoch, name)"]


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


@pytest.mark.parametrize(
    "make", [lambda p: p.write_bytes(b"PK\x03\x04" * 9), lambda p: p.write_text("<html>404</html>")]
)
def test_files_of_other_kinds_are_one_line(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    for name in ("w.pth", "w.safetensors", "w.pwfn", "w.npz"):
        make(tmp_path / name)
        refused(tmp_path / name)


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w"])
def test_safetensors_are_read_whatever_the_file_is_called(state: State, tmp_path: Path, name: str) -> None:
    save_file(state, tmp_path / name)
    assert_same(build(tmp_path / name)[0], state)
    torch.save(state, tmp_path / "w.safetensors")
    assert refused(tmp_path / "w.safetensors").endswith("was written by torch.save: give it the ending .pth")


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


def test_a_header_whose_length_looks_like_a_text_is_read(tmp_path: Path) -> None:
    file, state = tmp_path / "w.safetensors", {"fc.weight": torch.ones(2)}
    save_file(state, file, {"note": ""})
    length = int.from_bytes(b" <".ljust(8, b"\0"), "little")
    save_file(state, file, {"note": "x" * (length - int.from_bytes(file.read_bytes()[:8], "little"))})
    assert file.read_bytes().lstrip().startswith(b"<")
    assert torch.equal(read_weights(file).tensors["fc.weight"], state["fc.weight"])


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
