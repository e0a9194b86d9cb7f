"""Faults name the page that explains their keys, where there is one."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from pwfn.config import build, program
from pwfn.config.wording import pages
from tests.support.project import PROJECT


def keys_of(name: str) -> set[str]:
    """The top-level keys and the groups of a program's own YAML file, Hydra's aside."""
    config = yaml.safe_load((PROJECT / f"conf/{name}.yaml").read_text())
    named = [next(iter(entry)) for entry in config.pop("defaults") if isinstance(entry, dict)]
    return {key for key in [*named, *config] if "override" not in key} - {"hydra"}


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_every_key_has_a_page_that_speaks_of_it(name: str) -> None:
    of = pages.PAGE_OF[name]
    assert keys_of(name) - set(of) == set()
    silent = [
        (key, page)
        for key, page in of.items()
        if not re.search(rf"[` ]{key}[=.`]", (PROJECT / page).read_text(), re.MULTILINE)
    ]
    assert silent == []


def test_every_group_of_conf_has_a_page() -> None:
    groups = {folder.name for folder in (PROJECT / "conf").iterdir() if folder.is_dir() and folder.name != "hydra"}
    assert groups - set(pages.PAGE_OF["train"]) == set()


@pytest.mark.parametrize(
    ("faults", "found"),
    [
        (["data.batch_size = 0: must be from 1"], ["docs/data.md"]),
        (["data/augment = 'x': must be one of none"], ["docs/data.md"]),
        (["hydra/launcher = 'x': must be one of basic"], ["docs/sweeps.md"]),
        (
            ["codebook=pow3: must", "model.name = 1: must", "clustering=x: must"],
            ["docs/choices.md", "docs/weights.md"],
        ),
        (["seed = -1: must be from 0", "/nowhere: no such folder"], ["docs/cli.md"]),
        (["artifact.plain = 'x': must be one of exact"], ["docs/artifact.md"]),
        (["experimnt = 'smoke': unknown key; the nearest is experiment"], ["docs/choices.md"]),
        (["optimizer.lrr = 1: unknown key", "schedule = 'quik': must be one of quick"], ["docs/choices.md"]),
        (["foo = 1: unknown key"], []),
        (["hydra.run.dir = '/x': must be a folder"], ["docs/files.md"]),
        (["'data.augment.scale=[0.6,' '1]': must be one word"], ["docs/data.md"]),
    ],
)
def test_the_pages_of_faults(faults: list[str], found: list[str]) -> None:
    assert pages.pages_of(faults) == found


def test_a_key_may_have_another_page_in_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = ["artifact = 1: must be a text", "codebook.rare = -1: must be from 0", "report = 1: must be a text"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py"])
    assert pages.pages_of(faults) == ["docs/evaluation.md", "docs/report.md"]
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert pages.pages_of(faults) == ["docs/artifact.md", "docs/choices.md", "docs/report.md"]


def test_the_first_line_names_them_in_a_checkout_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for checkout, named in ((Path("/somewhere"), " (docs/wandb.md)"), (None, "")):
        monkeypatch.setattr(program, "checkout", lambda there=checkout: there)
        with pytest.raises(SystemExit):
            build.refuse(["logger.mode = 1: must be a text"])
        assert capsys.readouterr().err.splitlines()[0] == f"pwfn: 1 fault in the configuration{named}:"
