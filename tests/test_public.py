"""What the wings export: every name is there and documented, and the YAML files and saved runs go by these names."""

from __future__ import annotations

import importlib
import inspect
import re
from types import FunctionType

import pytest

from pwfn.renamed import RENAMED, with_present_names
from tests.support.project import CONF, PROJECT

WINGS = sorted(path.parent.name for path in (PROJECT / "pwfn").glob("*/__init__.py"))
TARGETS = sorted(
    {
        name
        for path in CONF.rglob("*.yaml")
        for name in re.findall(r"_target_: (pwfn\.\S+?)\}*\s", path.read_text() + "\n")
    }
)


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_exports_what_it_says(wing: str) -> None:
    module = importlib.import_module(f"pwfn.{wing}")
    assert module.__doc__
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(module, name) is not None, name


def exported() -> dict[str, object]:
    modules = [importlib.import_module(f"pwfn.{wing}") for wing in WINGS]
    return {f"{m.__name__}.{name}": getattr(m, name) for m in modules for name in getattr(m, "__all__", [])}


EXPORTED = {name: value for name, value in exported().items() if isinstance(value, type | FunctionType)}


@pytest.mark.parametrize("name", EXPORTED)
def test_what_a_wing_exports_begins_with_a_verb(name: str) -> None:
    first = (EXPORTED[name].__doc__ or "").split()
    assert first, "has no docstring"
    assert first[0] not in ("A", "All", "An", "Each", "Every", "How", "One", "The", "What", "Whether")
    assert first[0].endswith("ss") or not first[0].endswith("s")


@pytest.mark.parametrize("name", [name for name, value in EXPORTED.items() if isinstance(value, FunctionType)])
def test_an_exported_function_says_what_it_is_given_and_returns(name: str) -> None:
    function = EXPORTED[name]
    assert isinstance(function, FunctionType)
    text, signature = inspect.getdoc(function) or "", inspect.signature(function)
    if len(signature.parameters) > 2:
        unnamed = [key for key in signature.parameters if not re.search(rf"^    {key}: ", text, re.MULTILINE)]
        assert unnamed == []
        returns = "Returns:" in text or "Yields:" in text or "return" in text.partition("\n")[0].lower()
        assert returns or signature.return_annotation == "None"


@pytest.mark.parametrize("target", TARGETS)
def test_yaml_names_a_class_by_its_wing(target: str) -> None:
    package, _, name = target.rpartition(".")
    assert package.count(".") == 1, f"{target}: must be pwfn.<wing>.<class>"
    assert name in importlib.import_module(package).__all__


def test_every_earlier_name_leads_to_a_class_of_today() -> None:
    for old, new in RENAMED.items():
        package, _, name = new.rpartition(".")
        assert isinstance(getattr(importlib.import_module(package), name), type), old
    assert set(RENAMED.values()) <= set(TARGETS)


def test_names_are_translated_wherever_they_stand() -> None:
    saved = {"a": [{"_target_": "pwfn.rules.Greedy", "x": "pwfn.rules.Greedy"}], "_target_": "other.Thing", "n": 1}
    assert with_present_names(saved) == {
        "a": [{"_target_": "pwfn.clustering.Greedy", "x": "pwfn.rules.Greedy"}],
        "_target_": "other.Thing",
        "n": 1,
    }
