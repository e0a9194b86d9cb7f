"""conf/: every option of every group composes, builds, is commented, and can be overridden without a plus sign."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import MISSING, fields
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from pwfn.config import build
from pwfn.data import Mix
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.models.timm_model import ModelSpec, Quantize
from pwfn.run.ending.finishing import Finishing
from pwfn.run.pretraining import Pretraining
from pwfn.run.settings import TrainSettings
from pwfn.training.distillation import Distillation
from pwfn.training.trainer import TrainerSpec
from tests.support.project import CONF, Compose

FILES = sorted(  # but what W&B reads, and texts that are printed
    path for path in CONF.rglob("*.yaml") if path.name != "wandb_sweep.yaml" and path.parent.name != "help"
)
OPTIONS = [
    (str(path.parent.relative_to(CONF)), path.stem)
    for path in FILES
    if path.parent not in (CONF, CONF / "sweep", CONF / "hydra/launcher", CONF / "hydra/sweeper")
]
ONE_CLASS = {
    "data/mix": Mix,
    "model": ModelSpec,
    "pretrain": Pretraining,
    "distillation": Distillation,
    "finish": Finishing,
    "trainer": TrainerSpec,
}  # groups whose options are one dataclass with other values


def read(path: Path) -> dict[str, Any]:
    """An option with the keys of the option of its group that it begins with, as Hydra merges them."""
    content = yaml.safe_load(path.read_text())
    bases = [
        entry
        for entry in content.get("defaults", [])
        if isinstance(entry, str) and entry != "_self_" and "@" not in entry
    ]
    if path.parent in (CONF / "experiment", CONF) or not bases:
        return content
    (base,) = bases
    if not path.with_stem(base).is_file():  # a plugin's
        return content
    merged = OmegaConf.merge(read(path.with_stem(base)), content)
    return OmegaConf.to_container(merged)


def needs(group: str, option: str, folder: Path) -> list[str]:
    """What an option cannot know by itself."""
    if (group, option) == ("model", "timm"):
        return ["model.name=resnet10t"]
    if (group, option) == ("sigma", "given"):
        return ["sigma.path=sigma.safetensors"]
    if (group, option) == ("data", "timm"):
        return ["data.name=torch/mnist", "data.num_classes=10", f"data.root={folder}"]
    if (group, option) == ("data", "imagenet") or (group == "experiment" and option.startswith("paper")):
        return [f"data.root={folder}"]
    if (group, option) == ("data", "image_folder"):
        for split in ("train/a", "train/b", "val/a", "val/b"):
            (folder / split).mkdir(parents=True)
        return [f"data.root={folder}"]
    return []


def test_all_groups_of_the_design_are_there() -> None:
    groups = {
        "model",
        "data",
        "data/augment",
        "data/mix",
        "pretrain",
        "prior",
        "regularizer",
        "codebook",
        "clustering",
        "sigma",
        "sigma_join",
        "tolerance",
        "schedule",
    }
    assert {group for group, _ in OPTIONS} == groups | {
        "optimizer",
        "distillation",
        "finish",
        "trainer",
        "logger",
        "experiment",
    }
    assert len(OPTIONS) > 40


@pytest.mark.slow
@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_builds(
    group: str, option: str, composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # settings only: no device is touched
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    if option in ("trackio", "mlflow") and find_spec(option) is None:
        pytest.skip(f"the extra {option} is not installed")
    cfg = composed(f"{group}={option}", *needs(group, option, tmp_path))
    settings = build.load(TrainSettings, cfg)
    if group == "experiment":
        return
    written = read(CONF / group / f"{option}.yaml")
    built = reduce(getattr, group.split("/"), settings)
    if "_target_" in written:
        assert f"{type(built).__module__}.{type(built).__name__}" == real_name(written["_target_"])
    if group == "model":
        with torch.device("meta"):
            network = built.build(num_classes=7, in_chans=3, load_weights=False)
        assert network.num_classes == 7
        assert all(p.is_meta for p in network.parameters())
    if group == "data":
        assert built.channels in (1, 3)
        assert built.num_classes >= 2


def real_name(target: str) -> str:
    module, _, name = target.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    return f"{cls.__module__}.{cls.__name__}"


def test_evaluate_builds(composed: Compose) -> None:
    settings = build.load(EvaluateSettings, composed("run=somewhere", name="evaluate"))
    assert settings.run == "somewhere"
    assert settings.samples == 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_value_is_explained(path: Path) -> None:
    """A comment in the value's line, or in the lines above it; the file itself says first what it is for."""
    lines = path.read_text().splitlines()
    assert lines[0].startswith("#"), "no heading"
    assert len(lines[0]) > 15
    bare = []
    structural = ("_target_", "defaults:", "- override", "- _self_", "hydra:")
    in_hydra = in_experiment = False
    for number, line in enumerate(lines):
        text = line.strip()
        in_hydra = (in_hydra and (line.startswith(" ") or not text)) or text == "hydra:"  # Hydra documents its own keys
        in_experiment = path.parent.name == "experiment"  # the options it overrides explain their values
        if not text or text.startswith(("#", *structural)) or in_hydra or in_experiment or is_section(text):
            continue
        above = number > 0 and lines[number - 1].strip().startswith("#")
        if not re.search(r"\s#\s\S.{3,}", line) and not above:
            bare.append(line)
    assert bare == []


def is_section(text: str) -> bool:
    return re.fullmatch(r"\w+:", text) is not None


def nodes(node: Any) -> list[dict[str, Any]]:
    """Every mapping with a `_target_`, at any depth."""
    if not isinstance(node, dict):
        return []
    return ([node] if "_target_" in node else []) + [inner for value in node.values() for inner in nodes(value)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_parameter_can_be_overridden_without_a_plus(path: Path) -> None:
    content = read(path)
    groups = {key for entry in content.get("defaults", []) if isinstance(entry, dict) for key in entry}
    subgroups = {key for key in groups if not key.startswith("override ")}  # of other groups
    for node in nodes(content):
        module, _, name = node["_target_"].rpartition(".")
        if ".hydra_ray_launcher" in module:
            pytest.importorskip(module, reason="the extra ray is not installed")
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        own = set(node) - {"_target_", "defaults"}
        if inside := {
            entry.partition("@")[2] for entry in content.get("defaults", []) if isinstance(entry, str) and "@" in entry
        }:
            assert inside <= set(parameters)  # other options of the group, each in a section of its own
            continue
        assert set(parameters) == own | (subgroups if node is content else set())
    cls = ONE_CLASS.get(str(path.parent.relative_to(CONF)))
    if cls is not None:
        assert {field.name for field in fields(cls)} == set(content) - {"defaults"}
        if cls is ModelSpec:
            assert {field.name for field in fields(Quantize)} == set(content["quantize"])


def test_top_level_keys_are_the_settings(composed: Compose) -> None:
    assert set(composed()) == {field.name for field in fields(TrainSettings)}
    assert all(field.default is MISSING for field in fields(TrainSettings))  # conf/train.yaml holds the defaults
    evaluate = {field.name for field in fields(EvaluateSettings)}
    assert set(composed(name="evaluate")) == evaluate - {"data"}  # a group that nothing is chosen of
    assert all(field.default is MISSING for field in fields(EvaluateSettings) if field.name != "data")


@pytest.mark.slow
def test_reading_an_option_is_reading_its_file(composed: Compose) -> None:
    """Composing does not add, drop or change anything."""
    for group, option in OPTIONS:
        if group in ("experiment", "data", "model") or option == "several":  # they are made of other options
            continue
        written = read(CONF / group / f"{option}.yaml")
        written.pop("defaults", None)
        composed_node = reduce(lambda node, key: node[key], group.split("/"), composed(f"{group}={option}"))
        assert OmegaConf.to_container(composed_node, resolve=False) == written, (group, option)
