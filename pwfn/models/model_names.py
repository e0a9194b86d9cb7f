"""Tell which names timm can build: those of its registry, `hf-hub:<repository>` and `local-dir:<folder>`."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

# arguments of timm.create_model that the data and other keys than model.args decide
DECIDED = ("num_classes", "in_chans", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path")


def source_of(name: str) -> str | None:
    """Return `hf-hub` or `local-dir` for a name that says where model and weights are; None for any other name."""
    from timm.models import parse_model_name

    try:
        source: str | None = parse_model_name(name)[0]
    except ValueError:
        return None
    return source


def name_fault(name: str) -> str | None:
    """Say what is allowed instead of a name that timm cannot build, or return None."""
    from timm.models import parse_model_name

    try:
        source, place = parse_model_name(name)
    except ValueError:
        return (
            "the name of a timm model, hf-hub:<organization>/<name> for a repository of the Hugging Face hub, or "
            "local-dir:<folder> for a folder with a config.json"
        )
    if source == "local-dir":
        there = (Path(place) / "config.json").is_file()
        return None if there else "local-dir: and a folder with a config.json, as timm's save_for_hf writes it"
    return None if source else _registry_fault(name)


def _registry_fault(name: str) -> str | None:
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = ", ".join(difflib.get_close_matches(architecture, timm.list_models(), n=3))
        return "the name of a timm model" + (f"; nearest: {close}" if close else "")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(architecture)]
    if not tag or tag in tags:
        return None
    return f"{architecture} with one of its tags {', '.join(tags) or '(it has none)'}"


def registered(name: str, args: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and arguments by which timm's registry builds a model whose name may be that of a source.

    Raises:
        OSError: the source cannot be read.
    """
    if source_of(name) is None:
        return name, args
    from timm.models import resolve_model_input_args

    found = resolve_model_input_args(name)
    own = {key: value for key, value in found.get("pretrained_model_args", {}).items() if key not in DECIDED}
    return str(found["model_name"]), own | args
