"""Make the page with every key of the configuration from conf/ and from the classes behind it.

Values and meanings are those of the YAML files, types those of the constructors. What is allowed beyond the type comes
from the classes themselves: each checks its values with `pwfn.errors.require`, which is heard while options are built.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields
from functools import reduce
from importlib import import_module
from operator import getitem
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pwfn import errors
from pwfn.bayesian.kernels.choice import AUTO, KERNELS
from pwfn.config import build, resolvers
from pwfn.config.classes import concrete
from pwfn.config.hints import expected, sections_of
from pwfn.config.key_hints import hints_of
from pwfn.config.wording.messages import WORDS
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.run.settings import TrainSettings
from scripts.reference.markdown import cell, code, table
from scripts.reference.units import unit_of
from scripts.reference.yaml_comments import Key, heading, keys_of

CONF = Path(__file__).parents[2] / "conf"
# for what has no default
_STAND_INS = {
    "data/timm": {"name": "folder", "num_classes": 10},
    "model/timm": {"name": "resnet18"},
    "sigma/given": {"path": "sigma.safetensors"},
}
_OF_THE_MACHINE = ("kernels", "compile")  # what is allowed depends on what is installed
_OF_OTHER_VALUES = ("false: ", "without ,")  # how texts begin that speak of the other values of the option at hand
_HEAD = ["key", "default", "unit", "meaning", "type", "allowed"]
Allowed = dict[tuple[type, str], str]


@dataclass(frozen=True)
class Row:
    """Hold one key of a group, as one or several of its options have it."""

    key: str
    kind: str
    allowed: str
    meaning: str


def page() -> str:
    """Return the page in Markdown."""
    train = CONF / "train.yaml"
    chosen = {group: option for entry in _defaults(train) for group, option in entry.items() if group in _groups()}
    allowed = allowed_values(chosen)
    parts = [_INTRODUCTION, "## Keys of a run\n", _keys_table(TrainSettings, keys_of(train), allowed)]
    for group in [*chosen, "data/augment", "data/mix"]:
        parts += _group(group, chosen.get(group), allowed)
    parts += ["## Experiments\n", table(["`experiment=`", "what it is"], [*_options_rows("experiment")])]
    parts += ["## Keys of an evaluation\n", _keys_table(EvaluateSettings, keys_of(CONF / "evaluate.yaml"), allowed)]
    return "\n".join(parts)


_INTRODUCTION = """# Configuration

Every key of `python train.py` and `python evaluate.py`. This page is made from `conf/` and the classes behind it.

- A **group** is chosen by name: `clustering=nearest`. A **key** is set by its path: `clustering.start=2`.
- Where options of a group have other defaults, each is named.
- `null` means that nothing is set. A key without an entry under *allowed* takes any value of its type.
- A number without an entry under *unit* has none.
"""


def allowed_values(groups: Mapping[str, str]) -> Allowed:
    """Build every option of every group once; return what its class allows for each of its values."""
    heard: Allowed = {}

    def listen(owner: Any, **rules: tuple[bool, str]) -> None:
        heard.update({(type(owner), name): text for name, (_, text) in rules.items()})

    with _heard_by(listen):
        for group in [*groups, "data/augment", "data/mix"]:
            for path in _files(group):
                # what stays is heard, also where a folder, a name or a package is missing
                with suppress(build.ConfigError, OmegaConfBaseException):
                    cfg = _composed("train", f"{group}={path.stem}")
                    node = reduce(getitem, group.split("/"), cfg)
                    node.update(_STAND_INS.get(f"{group}/{path.stem}", {}))
                    build.build(_class(group, path), OmegaConf.to_container(node, resolve=True))  # type: ignore[arg-type]
        for schema, cfg in ((TrainSettings, _composed("train")), (EvaluateSettings, _composed("evaluate", "run=x"))):
            for check in build.load(schema, cfg).checks():
                key, _, _, text = check()
                if "." not in key and key not in _OF_THE_MACHINE and not text.startswith("false"):
                    heard[(schema, key)] = text
    heard[(TrainSettings, "kernels")] = f"one of {', '.join([AUTO, *KERNELS])}, where they are installed"
    return {place: text for place, text in heard.items() if not text.startswith(_OF_OTHER_VALUES)}


@contextmanager
def _heard_by(listen: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for module in [module for name, module in sys.modules.items() if name.startswith("pwfn.")]:
            if getattr(module, "require", None) is errors.require and module is not errors:
                stack.enter_context(patch.object(module, "require", listen))
        yield


def _composed(name: str, *overrides: str) -> DictConfig:
    resolvers.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose(name, list(overrides))


def _defaults(path: Path) -> list[dict[str, str]]:
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["defaults"]
    return [entry for entry in entries if isinstance(entry, dict)]


def _groups() -> set[str]:
    """Return the config groups of a run: the fields that are sections and have a folder."""
    return {field.name for field in fields(TrainSettings) if (CONF / field.name).is_dir()}


def _files(group: str) -> list[Path]:
    return sorted((CONF / group).glob("*.yaml"))


def _options_rows(group: str, default: str | None = None) -> Iterator[list[str]]:
    for path in _files(group):
        yield [code(path.stem) + (" (default)" if path.stem == default else ""), cell(heading(path))]


def _group(group: str, default: str | None, allowed: Allowed) -> Iterator[str]:
    yield f"## `{group}`\n"
    yield table([f"`{group}=`", "what it is"], [*_options_rows(group, default)])
    values: dict[Row, dict[str, str]] = {}
    for path in _files(group):
        cls = _class(group, path)
        for key in keys_of(path).values():
            row = _row(cls, key, allowed)
            values.setdefault(row, {})[path.stem] = key.value
    if values:
        prefix = group.replace("/", ".")
        of_all = len(_files(group))
        rows = [
            [code(dotted), _default_of(given, of_all), unit_of(dotted), row.meaning, row.kind, row.allowed]
            for row, given in sorted(values.items(), key=lambda item: -len(item[1]))
            for dotted in [f"{prefix}.{row.key}"]
        ]
        yield table(_HEAD, rows)


def _default_of(given: Mapping[str, str], of_all: int) -> str:
    """Return the value that all options share, or each value with the options that have it."""
    by_value: dict[str, list[str]] = {}
    for option, value in given.items():
        by_value.setdefault(value, []).append(option)
    if len(by_value) == 1 and len(given) == of_all:
        return code(next(iter(by_value)))
    return "<br>".join(f"{code(value)} ({', '.join(options)})" for value, options in by_value.items())


def _class(group: str, path: Path) -> type:
    target = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("_target_")
    if target is not None:
        module, _, name = target.rpartition(".")
        return getattr(import_module(module), name)  # type: ignore[no-any-return]
    field, _, inner = group.partition("/")
    (base,) = sections_of(hints_of(TrainSettings)[field])
    return sections_of(hints_of(base)[inner])[0] if inner else base


def _keys_table(schema: type, keys: Mapping[str, Key], allowed: Allowed) -> str:
    rows = [_row(schema, key, allowed) for key in keys.values()]
    cells = [
        [code(row.key), code(key.value), unit_of(row.key), row.meaning, row.kind, row.allowed]
        for row, key in zip(rows, keys.values(), strict=True)
    ]
    return table(_HEAD, cells)


def _row(cls: type, key: Key, allowed: Allowed) -> Row:
    *sections, leaf = key.path.split(".")
    for name in sections:
        inner = sections_of(hints_of(cls).get(name)) if name in hints_of(cls) else []
        cls = inner[0] if inner else cls
    hint = hints_of(cls).get(leaf)
    kind = "" if hint is None else expected(hint).replace(WORDS[str][0], "text")
    return Row(key.path, cell(kind), cell(_rule(cls, leaf, allowed)), cell(key.meaning))


def _rule(cls: type, leaf: str, allowed: Allowed) -> str:
    """Return what `cls` allows for a key, or what all classes allow that may stand for it."""
    for base in cls.__mro__:
        if (base, leaf) in allowed:
            return allowed[(base, leaf)]
    of_others = {allowed[(one, leaf)] for one in concrete(cls) if (one, leaf) in allowed}
    return of_others.pop() if len(of_others) == 1 else ""
