"""Where a network's weights come from: local files of either kind, and what is said when they do not fit."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pwfn.errors import InvalidValueError
from pwfn.models.random_weights import new_head, refuse_untrained_head
from pwfn.models.timm_model import ModelError, ModelSpec

NAME = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def source() -> nn.Module:
    """A network of 10 classes and color images with weights of its own."""
    torch.manual_seed(5)
    return timm.create_model(NAME, num_classes=10, in_chans=3).eval()


def write(path: Path, weights: dict[str, Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}, "epoch": 3}, path)
    return path


def build(path: Path, num_classes: int = 10, in_chans: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return ModelSpec(NAME, checkpoint=str(path)).build(num_classes=num_classes, in_chans=in_chans).state_dict()


@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
def test_a_local_file_is_read_bit_for_bit(source: nn.Module, tmp_path: Path, file: str) -> None:
    built = build(write(tmp_path / file, source.state_dict()))
    assert built.keys() == source.state_dict().keys()
    for name, value in source.state_dict().items():
        assert torch.equal(built[name], value), name


def test_a_head_for_other_classes_is_made_anew(source: nn.Module, tmp_path: Path) -> None:
    built = build(write(tmp_path / "w.pth", source.state_dict()), num_classes=7)
    assert built["fc.weight"].shape[0] == 7
    for name, value in source.state_dict().items():
        assert name.startswith("fc.") or torch.equal(built[name], value), name


def test_color_weights_are_adapted_to_grey_images(source: nn.Module, tmp_path: Path) -> None:
    built = build(write(tmp_path / "w.pth", source.state_dict()), in_chans=1)
    (first,) = [name for name, value in source.state_dict().items() if value.ndim == 4 and value.shape[1] == 3]
    torch.testing.assert_close(built[first], source.state_dict()[first].sum(1, keepdim=True))
    for name, value in source.state_dict().items():
        assert name == first or torch.equal(built[name], value), name


class _Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_code_inside_a_file_of_weights_is_not_run(tmp_path: Path) -> None:
    marker, file = tmp_path / "executed", tmp_path / "weights.pth"
    torch.save({"state_dict": _Bomb(marker)}, file)
    torch.load(file, weights_only=False)
    assert marker.exists()  # the file is dangerous indeed
    marker.unlink()
    one_line(file)
    assert not marker.exists()
    torch.save({"state_dict": {}, "args": argparse.Namespace(hidden=_Bomb(marker))}, file)
    one_line(file)
    assert not marker.exists()
    file.write_bytes(pickle.dumps(_Bomb(marker)))
    one_line(file)
    assert not marker.exists()
    assert argparse.Namespace not in torch.serialization.get_safe_globals()  # it is while a file is read, no longer


def one_line(file: Path, mentions: str = "") -> None:
    with pytest.raises(ModelError) as caught:
        build(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert mentions in str(caught.value)


@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
def test_damaged_files_are_one_line(source: nn.Module, tmp_path: Path, file: str) -> None:
    path = write(tmp_path / file, source.state_dict())
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2], b"\xff" * 16 + whole[16:]):
        path.write_bytes(content)
        one_line(path)


def test_weights_of_another_network_are_one_line(tmp_path: Path) -> None:
    other = timm.create_model("test_vit.r160_in1k", num_classes=10)
    one_line(write(tmp_path / "w.pth", other.state_dict()), NAME)
    one_line(write(tmp_path / "w.safetensors", other.state_dict()), NAME)
    torch.save([1, 2, 3], tmp_path / "list.pth")
    one_line(tmp_path / "list.pth", "no state dict")


@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused(source: nn.Module, tmp_path: Path, file: str, value: float) -> None:
    weights = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    weights["fc.weight"][3, 1] = value
    one_line(write(tmp_path / file, weights), "fc.weight")


@pytest.mark.parametrize("num_classes", [10, 7])
def test_weights_of_a_deeper_network_are_refused(tmp_path: Path, num_classes: int) -> None:
    """All of a ResNet-18 is in a ResNet-34, under the same names and of the same shapes."""
    deeper = timm.create_model("resnet34", num_classes=10)
    file = write(tmp_path / "w.safetensors", deeper.state_dict())
    with pytest.raises(ModelError) as error:
        ModelSpec("resnet18", checkpoint=str(file)).build(num_classes=num_classes, in_chans=3)
    assert "layer1.2" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("num_classes", [10, 7])
def test_watching_what_is_loaded_leaves_nothing_behind(source: nn.Module, tmp_path: Path, num_classes: int) -> None:
    """A hook that stays on a module could not be pickled."""
    file = write(tmp_path / "w.safetensors", source.state_dict())
    pickle.dumps(ModelSpec(NAME, checkpoint=str(file)).build(num_classes=num_classes, in_chans=3))
    later = nn.Sequential(nn.Linear(2, 2))
    later.load_state_dict({}, strict=False)
    pickle.dumps(later)


def test_a_new_head_is_said_aloud(source: nn.Module, tmp_path: Path) -> None:
    spec = ModelSpec(NAME, checkpoint=str(write(tmp_path / "w.pth", source.state_dict())))
    other, same = (spec.build(num_classes=classes, in_chans=3) for classes in (7, 10))
    line = new_head(spec, other)
    assert line is not None
    assert line.endswith("for 10 classes and the data has 7, so the classifier is new and RANDOM")
    with pytest.raises(ModelError, match="pretrain=head"):
        refuse_untrained_head(spec, other, trained=False)
    refuse_untrained_head(spec, other, trained=True)
    refuse_untrained_head(spec, same, trained=False)
    assert new_head(spec, same) is None
    assert new_head(ModelSpec(NAME), ModelSpec(NAME).build(num_classes=7, in_chans=3)) is None  # all of it is random


def test_weights_with_a_missing_tensor_are_refused(source: nn.Module, tmp_path: Path) -> None:
    """Half of a network would train on silently, with the other half at random."""
    weights = dict(source.state_dict())
    gone = next(name for name in weights if name.endswith("conv1.weight"))
    del weights[gone]
    one_line(write(tmp_path / "w.pth", weights), gone)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"name": "resnet19"}, "name = 'resnet19': must be the name of a timm model; nearest: resnet"),
        ({"name": "resnet18.a1_in2k"}, "name = 'resnet18.a1_in2k': must be resnet18 with one of its tags "),
        ({"name": ""}, "name = '': must be the name of a timm model"),
        ({"name": NAME, "checkpoint": "/no/where"}, "checkpoint = '/no/where': must be an existing file"),
        ({"name": NAME, "checkpoint": "/"}, "checkpoint = '/': must be an existing file"),
        ({"name": NAME, "checkpoint": __file__, "pretrained": True}, "pretrained = True: must be false where"),
        ({"name": NAME, "args": {"num_classes": 3}}, "args = {'num_classes': 3}: must be without num_classes, which"),
        (
            {"name": NAME, "args": {"in_chans": 1, "pretrained": True}},
            "args = {'in_chans': 1, 'pretrained': True}: must be without in_chans, pr",
        ),
    ],
)
def test_wrong_descriptions(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        ModelSpec(**options)
    assert str(caught.value).startswith(line)


def test_unknown_arguments_of_the_model_are_one_line() -> None:
    with pytest.raises(ModelError, match="nonsense") as caught:
        ModelSpec(NAME, args={"nonsense": 1}).build(num_classes=10, in_chans=1)
    assert "\n" not in str(caught.value)


def test_random_weights_come_from_the_seed() -> None:
    networks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        networks.append(ModelSpec(NAME).build(num_classes=10, in_chans=1).state_dict())
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
    assert not torch.equal(networks[0]["fc.weight"], networks[2]["fc.weight"])
