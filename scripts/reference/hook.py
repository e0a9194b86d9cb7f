"""Add the generated pages to the site: what mkdocs calls while it builds (`hooks` in mkdocs.yml)."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import pwfn
from scripts.reference import records, settings


def python_api() -> str:
    """Return the page of the public names, which mkdocstrings fills from the files that define them."""
    lines = ["# Python\n", "`import pwfn` needs no Hydra, Lightning or W&B.\n"]
    for name in sorted(pwfn.__all__, key=str.lower):
        what = getattr(pwfn, name)
        lines.append(f"::: {what.__module__}.{what.__qualname__}\n    options:\n      heading: pwfn.{name}\n")
    return "\n".join(lines)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    for name, text in {
        "reference/configuration.md": settings.page(),
        "reference/records.md": records.page(),
        "reference/python.md": python_api(),
    }.items():
        files.append(File.generated(config, name, content=text))
    return files
