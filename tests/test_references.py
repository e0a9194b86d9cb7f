"""Every file and every name of pwfn that the documents, docstrings and comments mention exists."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.project import PROJECT

KEYS_OF_FILES = {"pwfn.codebook", "pwfn.packed"}  # in a safetensors file with packed weights
HISTORY = {"CHANGELOG.md", "UPGRADING.md"}  # they name what was
FOLDERS = "pwfn|docs|conf|tests|scripts|benchmarks|results|hydra_plugins|multirun"
PATH = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w./*-]*\w\.(?:py|md|yaml|yml|csv|png|js|css|html)\b")
NAME = re.compile(r"(?<![\w./@-])pwfn(?:\.[A-Za-z_]\w*)+")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
DOCUMENTS = sorted(path for path in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")] if path.name not in HISTORY)
SOURCES = sorted(
    path
    for folder in ("pwfn", "conf", "hydra_plugins", "scripts", "benchmarks")
    for path in (PROJECT / folder).rglob("*")
    if path.suffix in (".py", ".yaml") and path.name != "renamed.py"
)


def missing_paths(text: str) -> Iterator[str]:
    for path in PATH.findall(text):
        if not list(PROJECT.glob(path)):
            yield path


def missing_names(text: str) -> Iterator[str]:
    for name in NAME.findall(text):
        if name not in KEYS_OF_FILES and not is_optional(name):
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                yield name


def is_optional(name: str) -> bool:
    """Whether it is a module, which may need a package that is not installed."""
    try:
        return find_spec(name) is not None
    except ImportError:  # what is above it is no package
        return False


@pytest.mark.parametrize("path", [*DOCUMENTS, *SOURCES], ids=lambda path: str(path.relative_to(PROJECT)))
def test_what_is_mentioned_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [*missing_paths(text), *missing_names(text)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_within_the_project_leads_somewhere(path: Path) -> None:
    links = LINK.findall(path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_picture_of_the_documents_is_shown() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    pictures = {path.name for path in (PROJECT / "docs").iterdir() if path.suffix in (".png", ".gif")}
    assert pictures
    assert {name for name in pictures if not re.search(rf"!\[[^]]*\]\((?:docs/)?{re.escape(name)}\)", text)} == set()


def test_a_missing_file_and_a_missing_name_are_seen() -> None:
    text = "see `docs/nowhere.md`, `pwfn/run/nothing.py`, pwfn.clustering.NoSuchRule; pwfn.load, conf/*/greedy.yaml"
    assert list(missing_paths(text)) == ["docs/nowhere.md", "pwfn/run/nothing.py"]
    assert list(missing_names(text)) == ["pwfn.clustering.NoSuchRule"]
