"""Names that say where a model and its weights are: `local-dir:` and `hf-hub:`, as timm takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor, nn

from pwfn import hub
from pwfn.errors import InvalidValueError
from pwfn.models.random_weights import new_head
from pwfn.models.timm_model import ModelError, ModelSpec, data_config

MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    torch.manual_seed(7)
    return timm.create_model("test_vit", num_classes=3, depth=2).eval()


def write(folder: Path, network: nn.Module, num_classes: int, model_args: dict[str, Any], **config: Any) -> Path:
    """Write a network as timm's save_for_hf does."""
    folder.mkdir(exist_ok=True)
    config = {"input_size": [3, 160, 160], "fixed_input_size": False, "classifier": "head", **config}
    config = {"first_conv": "patch_embed.proj", "interpolation": "bicubic", "num_classes": num_classes, **config}
    content = {
        "architecture": "test_vit",
        "num_classes": num_classes,
        "model_args": model_args,
        "pretrained_cfg": config,
    }
    (folder / "config.json").write_text(json.dumps(content))
    save_file(network.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def saved(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as timm writes one for the hub, with preprocessing of its own."""
    own = {"mean": MEAN, "std": STD, "crop_pct": 1.0, "input_size": [3, 128, 128]}
    return write(tmp_path_factory.mktemp("saved"), theirs, 3, {"depth": 2, "img_size": 160}, **own)


def assert_same(network: nn.Module, state: dict[str, Tensor]) -> None:
    built = network.state_dict()
    assert built.keys() == state.keys()
    assert all(torch.equal(built[name], value) for name, value in state.items())


@pytest.mark.slow
def test_a_folder_brings_weights_arguments_and_preprocessing(theirs: nn.Module, saved: Path) -> None:
    spec = ModelSpec(f"local-dir:{saved}")
    assert not spec.random_weights
    for classes in (3, None):
        network = spec.build(num_classes=classes, in_chans=3).eval()
        assert_same(network, theirs.state_dict())
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    reference = timm.create_model(spec.name, pretrained=True).eval()
    assert torch.equal(network(images), reference(images))
    config = data_config(network)
    assert (list(config["mean"]), list(config["std"]), config["crop_pct"]) == (MEAN, STD, 1.0)
    assert tuple(config["input_size"]) == (3, 128, 128)
    assert config == timm.data.resolve_data_config({}, model=reference)


def test_a_head_for_other_classes_is_said_with_its_size(saved: Path) -> None:
    spec = ModelSpec(f"local-dir:{saved}")
    line = new_head(spec, spec.build(num_classes=5, in_chans=3))
    assert line is not None
    assert "the weights are for 3 classes and the data has 5" in line


def test_the_artifact_does_not_need_the_folder(saved: Path) -> None:
    name, args = ModelSpec(f"local-dir:{saved}", args={"drop_rate": 0.1}).registered()
    assert (name, args["depth"], args["drop_rate"]) == ("test_vit", 2, 0.1)
    assert ModelSpec("test_vit", args={"depth": 2}).registered() == ("test_vit", {"depth": 2})


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("local-dir:/no/where", "name = 'local-dir:/no/where': must be local-dir: and a folder with a config.json"),
        ("org/mine", "name = 'org/mine': must be the name of a timm model, hf-hub:<organization>/<name>"),
        ("gs:mine", "name = 'gs:mine': must be the name of a timm model, hf-hub:"),
        ("hf-hub:", "name = 'hf-hub:': must be the name of a timm model, hf-hub:"),
    ],
)
def test_wrong_places(name: str, line: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        ModelSpec(name)
    assert str(caught.value).startswith(line)


def test_a_folder_and_a_file_are_too_much(saved: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"must be null where model\.name says where the weights are"):
        ModelSpec(f"local-dir:{saved}", checkpoint=__file__)


@pytest.mark.parametrize("damage", ["no weights", "no json", "half", "other"])
def test_a_damaged_folder_is_one_line(theirs: nn.Module, saved: Path, tmp_path: Path, damage: str) -> None:
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    config.write_text((saved / "config.json").read_text())
    content = (saved / "model.safetensors").read_bytes()
    if damage == "no json":
        config.write_text("{")
    elif damage == "half":
        weights.write_bytes(content[: len(content) // 2])
    elif damage == "other":
        save_file({"wrong": torch.zeros(1)}, weights)
    with pytest.raises(ModelError) as caught:
        ModelSpec(f"local-dir:{tmp_path}").build(num_classes=3, in_chans=3)
    line = str(caught.value)
    assert line.startswith(f"cannot build local-dir:{tmp_path} with weights from")
    assert "\n" not in line


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No hub; returns the folder of its cache."""
    monkeypatch.setattr(hub, "unreachable", lambda: "the hub does not answer: refused")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.usefixtures("offline")
def test_without_a_network_a_repository_is_one_line() -> None:
    for load in (True, False):
        with pytest.raises(ModelError) as caught:
            ModelSpec("hf-hub:someone/mine").build(num_classes=3, in_chans=3, load_weights=load)
        line = str(caught.value)
        assert line.startswith("hf-hub:someone/mine: its weights are not on this machine, and the hub does not answer")
        assert "model.name=local-dir:<folder>" in line
        assert "\n" not in line


def test_a_repository_in_the_cache_is_taken(theirs: nn.Module, saved: Path, offline: Path) -> None:
    repository, revision = offline / "models--someone--mine", "0" * 40
    (repository / "snapshots").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    (repository / "snapshots" / revision).symlink_to(saved)
    network = ModelSpec("hf-hub:someone/mine").build(num_classes=3, in_chans=3)
    assert_same(network, theirs.state_dict())
    assert list(data_config(network)["mean"]) == MEAN


def test_a_run_of_a_folder_leaves_an_artifact_that_needs_none(small_run: Any, saved: Path, tmp_path: Path) -> None:
    """Its classifier fits the classes, so nothing is trained; 10 classes and gray images are those of a small run."""
    folder = tmp_path / "mine"
    torch.manual_seed(8)
    network = timm.create_model("test_vit", num_classes=10, in_chans=1, depth=1, img_size=32)
    write(folder, network, 10, {"depth": 1, "img_size": 32}, input_size=[1, 32, 32])
    from pwfn import artifact

    done = small_run(tmp_path / "run", "model=timm", f"model.name='local-dir:{folder}'", "pretrain.epochs=0")
    header = artifact.describe(done.folder / "model.pwfn")
    assert (header["model"]["name"], header["model"]["args"]["depth"]) == ("test_vit", 1)
    folder.rename(tmp_path / "gone")
    assert artifact.load(done.folder / "model.pwfn").num_classes == 10
