"""Add the generated pages to the site: what mkdocs calls while it builds (`hooks` in mkdocs.yml)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from scripts.reference import records, settings


def python_api() -> str:
    """Return the page of the public names, which mkdocstrings fills from the files that define them."""
    lines = [
        "# Python\n",
        "`import pwfn` needs no Hydra, Lightning or W&B; neither do its three wings below.\n",
    ]
    for wing in ("pwfn", "pwfn.bayesian", "pwfn.clustering", "pwfn.curvature"):
        module = import_module(wing)
        lines += _entry(wing, module.__all__, module)
    return "\n".join(lines)


def _entry(wing: str, names: list[str], module: ModuleType) -> Iterator[str]:
    for name in sorted(names, key=str.lower):
        what = getattr(module, name)
        if hasattr(what, "__qualname__"):
            yield f"::: {what.__module__}.{what.__qualname__}\n    options:\n      heading: {wing}.{name}\n"
        else:
            yield f"## {wing}.{name}\n\n`{what!r}`\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    for name, text in {
        "reference/configuration.md": settings.page(),
        "reference/records.md": records.page(),
        "reference/python.md": python_api(),
    }.items():
        files.append(File.generated(config, name, content=text))
    return files
