"""Configuration: every mistake is found before anything is built, all at once, one line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from pwfn.clustering.rules import Greedy, Rule
from pwfn.config.build import ConfigError, build, load
from pwfn.config.classes import find_class, import_own_modules
from pwfn.config.wording.unknown_key import UnknownKey, owners
from pwfn.data import Augment, NoAugment, TimmAugment
from tests.support.runs.toy_settings import HERE, Constant, Extended, Optimizer, Scaled, Settings


def good() -> dict[str, Any]:
    return {"prior": {"_target_": f"{HERE}.Constant", "sigma": 1}, "optimizer": {"lr": 0.1}, "seed": 0}


def faults_of(node: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build(Settings, node)
    return caught.value.faults


def test_good_configuration_is_built() -> None:
    node = good() | {"fractions": [0.5, 1], "limit": None, "extra": {"any": [1, "a"]}, "second": {"lr": 1}}
    settings = build(Settings, node)
    assert settings == Settings(
        Constant(1.0), Optimizer(0.1), 0, fractions=(0.5, 1.0), extra={"any": [1, "a"]}, second=Optimizer(1.0)
    )
    assert isinstance(settings.fractions, tuple)


def test_ordinary_class_is_built_from_its_signature() -> None:
    settings = build(Settings, good() | {"prior": {"_target_": f"{HERE}.Scaled", "scale": 2}})
    assert isinstance(settings.prior, Scaled)
    assert settings.prior.scale == 2.0
    assert settings.prior.clip is None


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", True, "seed = True: must be a whole number"),
        ("seed", 1.0, "seed = 1.0: must be a whole number"),
        ("limit", "3", "limit = '3': must be a whole number or null"),
        ("name", None, "name = None: must be text (in quotes if it looks like a number)"),
        ("fractions", [0.5, "a"], "fractions = [0.5, 'a']: must be a list of numbers"),
        ("fractions", 0.5, "fractions = 0.5: must be a list of numbers"),
        ("mode", "jiont", "mode = 'jiont': must be one of joint, alternate; the nearest is joint"),
        ("extra", [1], "extra = [1]: must be a section of keys"),
        ("seed", "???", "seed: has to be given: a whole number"),
        ("optimizer", {"lr": "abc"}, "optimizer.lr = 'abc': must be a number"),
        ("optimizer", {"lr": float("nan")}, "optimizer.lr = nan: must be a number above 0"),
        ("optimizer", {}, "optimizer.lr: has to be given: a number"),
        ("optimizer", 5, "optimizer = 5: must be a section of keys"),
        ("optimizer", None, "optimizer = None: must be a section of keys"),
        ("second", {"lr": -1}, "second.lr = -1.0: must be a number above 0"),
        ("optimizer", {"lr": 1, "momentun": 0.1}, ("optimizer.momentun = 0.1: unknown key; the nearest is"
         " optimizer.momentum; allowed in optimizer: lr, momentum, nesterov")),
    ],
)  # fmt: skip
def test_one_fault_one_line(key: str, value: Any, message: str) -> None:
    assert faults_of(good() | {key: value}) == [message]


def test_all_faults_at_once() -> None:
    node = good() | {"optimizer": {"lr": "x", "momentum": 2, "bogus": 1}, "seed": 1.5, "modle": {"name": 3}}
    assert [fault.split(" ")[0] for fault in faults_of(node)] == [
        "modle.name",
        "optimizer.bogus",
        "optimizer.lr",
        "seed",
    ]
    # with its types right, a section's own rules are checked, also while other sections are wrong
    node["optimizer"] = {"lr": -1, "momentum": 2}
    assert [fault.split(" ")[0] for fault in faults_of(node)] == [
        "modle.name",
        "optimizer.lr",
        "optimizer.momentum",
        "seed",
    ]


def test_contradictions_of_the_whole_come_from_the_root() -> None:
    node = good() | {"prior": {"_target_": f"{HERE}.Scaled", "scale": 2}, "mode": "alternate"}
    assert faults_of(node) == ["prior.scale = 2.0: must be left out with mode=alternate"]


def test_contradictions_are_found_beside_wrong_values() -> None:
    alternate = good() | {"prior": {"_target_": f"{HERE}.Scaled", "scale": 2}, "mode": "alternate", "seed": -1}
    contradictions = ["seed = -1: must be an integer from 0", "prior.scale = 2.0: must be left out with mode=alternate"]
    assert faults_of(alternate) == contradictions
    wrong = ["optimizer.lr = -1.0: must be a number above 0"]
    assert faults_of(alternate | {"optimizer": {"lr": -1}}) == wrong + contradictions
    # what reads a value that is wrong, here by a property, cannot be judged
    assert faults_of(alternate | {"optimizer": {"lr": -1}, "limit": 10**6}) == wrong + contradictions
    assert faults_of(good() | {"limit": 10**6}) == ["limit = 1000000: must be below that of the optimizer"]
    # a default counts as built
    assert faults_of(good() | {"seed": -1, "optimizer": {"lr": -1}}) == [*wrong, contradictions[0]]


def test_a_mistake_in_a_check_itself_is_not_taken_for_a_missing_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "checks", lambda self: [lambda: self.nowhere])
    with pytest.raises(AttributeError, match="nowhere"):
        build(Settings, good() | {"optimizer": {"lr": -1}})


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("lr", "optimizer.lr"),
        ("optimiser", "optimizer"),
        ("prior.sigam", "prior.sigma"),
        ("optimiser.lr", "optimizer.lr"),
    ],
)
def test_nearest_key(key: str, nearest: str) -> None:
    cfg = OmegaConf.create(good())
    OmegaConf.update(cfg, key, 1, force_add=True)
    with pytest.raises(ConfigError) as caught:
        load(Settings, cfg)
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(f"{key} = 1: unknown key; the nearest is {nearest};")


@pytest.mark.parametrize("target", ["os.system", "subprocess.Popen", f"{HERE}.Prior", f"{HERE}.Settings", 3, "", ".."])
def test_only_classes_of_the_interface_are_called(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr("os.system", called.append)
    (fault,) = faults_of(good() | {"prior": {"_target_": target, "command": "true"}})
    assert fault.startswith(f"prior._target_ = {target!r}: must be one of {HERE}.Constant, {HERE}.Scaled")
    assert called == []


OWN_CLASS = """
from dataclasses import dataclass
from pathlib import Path
from tests.support.runs.toy_settings import Extension
Path(__file__).with_name("imported").touch()
@dataclass(frozen=True)
class Mine(Extension):
    sigma: float = 1.0
    def start(self) -> float:
        return self.sigma
class Other:
    pass
"""


def test_only_what_the_user_named_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a_users_module.py").write_text(OWN_CLASS)
    node = {"extension": {"_target_": "a_users_module.Mine", "sigma": 2.0}}
    with pytest.raises(ConfigError, match=r"^extension._target_ = 'a_users_module.Mine': must be "):
        build(Extended, node)
    assert not (tmp_path / "imported").exists()
    found = load(Extended, OmegaConf.create(node), importable=None)
    assert found.extension.start() == 2.0
    assert (tmp_path / "imported").exists()
    assert build(Extended, node) == found  # from now on it is one of the known
    node["extension"]["_target_"] = "a_users_module.Other"
    with pytest.raises(ConfigError, match=r"Other': must be one of .*; the nearest is"):
        load(Extended, OmegaConf.create(node), importable=None)


def test_modules_that_a_variable_names_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "another_users_module.py").write_text(OWN_CLASS.replace("Mine", "Another"))
    monkeypatch.setenv("PWFN_IMPORT", "another_users_module,not_there")
    assert import_own_modules() == [
        "PWFN_IMPORT = 'not_there': must be a module that can be imported (No module named 'not_there')"
    ]
    settings = build(Extended, {"extension": {"_target_": "another_users_module.Another"}})
    assert settings.extension.start() == 1.0


def test_a_name_of_an_earlier_version_is_understood() -> None:
    found, _ = find_class("pwfn.rules.Greedy", [Rule], ())
    assert found is Greedy


def test_mistyped_target_names_the_nearest_class() -> None:
    (fault,) = faults_of(good() | {"prior": {"_target_": f"{HERE}.Constnat"}})
    assert fault.endswith(f"; the nearest is {HERE}.Constant")
    (fault,) = faults_of(good() | {"prior": {"sigma": 1.0}})
    assert fault == f"prior._target_: has to be given: one of {HERE}.Constant, {HERE}.Scaled"


def test_interpolations_are_resolved_and_broken_ones_named() -> None:
    node = good() | {"limit": "${seed}", "optimizer": {"lr": "${nowhere}", "momentum": "${oc.env:PWFN_NOT_SET}"}}
    with pytest.raises(ConfigError) as caught:
        load(Settings, OmegaConf.create(node))
    first, second = caught.value.faults
    assert first.startswith("optimizer.lr: ")
    assert "nowhere" in first
    assert second.startswith("optimizer.momentum: ")
    assert "PWFN_NOT_SET" in second
    node["optimizer"] = {"lr": 1}
    assert load(Settings, OmegaConf.create(node)).limit == 0


def test_configuration_that_contains_itself() -> None:
    with pytest.raises(ConfigError, match="refers to itself"):
        load(Settings, OmegaConf.create(good() | {"extra": {"p": {"x": "${extra.q}"}, "q": {"y": "${extra.p}"}}}))


def test_a_key_of_another_option_is_named_with_what_chooses_it() -> None:
    cls = NoAugment
    assert owners("scale", cls, [Augment]) == ["pwfn.data.TimmAugment"]
    assert owners("scale", TimmAugment, [Augment]) == owners("sclae", cls, [Augment]) == []
    line = UnknownKey("data.augment.scale", [0.6, 1], "data.augment", [], owners("scale", cls, [Augment])).line([])
    assert line == (
        "data.augment.scale = [0.6, 1]: unknown key; it is a key of pwfn.data.TimmAugment: data/augment=<option> "
        "chooses that; allowed in data.augment: none"
    )
