"""Tell which names timm can build: its registry's, `hf-hub:<repository>`, `local-dir:<folder>`."""

from __future__ import annotations

import difflib
import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# arguments of timm.create_model that the data and other keys than model.args decide
DECIDED = ("num_classes", "in_chans", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path")
_SOURCE = re.compile(r"(hf[-_]hub|local-dir):(.+)")
_PLACES = (
    "the name of a timm model, hf-hub:<organization>/<name> for a repository of the Hugging Face hub, or "
    "local-dir:<folder> for a folder with a config.json"
)


def source_of(name: str) -> str | None:
    """Return `hf-hub` or `local-dir` for a name that says where the weights are, None for any other."""
    found = _SOURCE.fullmatch(name)
    return found[1].replace("_", "-") if found else None


def name_fault(name: str) -> str | None:
    """Say what is allowed instead of a name that timm cannot build, or return None."""
    source = source_of(name)
    if source == "local-dir":
        there = (_place(name) / "config.json").is_file()
        return None if there else "local-dir: and a folder with a config.json, as timm's save_for_hf writes it"
    if source is not None:
        return None
    return _PLACES if any(sign in name for sign in "/\\:") else _registry_fault(name)


def _place(name: str) -> Path:
    return Path(name.partition(":")[2])


def is_in_the_source(name: str) -> bool:
    """Tell whether timm's source registers this name, read as text: to import timm takes seconds.

    A name that is not found there, such as a renamed or another package's one, may still be in the registry.
    """
    architecture, _, tag = name.partition(".")
    found = find_spec("timm")
    if found is None or found.origin is None or not architecture.isidentifier():
        return False
    for path in sorted((Path(found.origin).parent / "models").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if f"@register_model\ndef {architecture}(" in text:
            return not tag or any(f"{quote}{name}{quote}: " in text for quote in "'\"")
    return False


def _registry_fault(name: str) -> str | None:
    if is_in_the_source(name):
        return None
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
    """Return the registry's name and arguments for a model whose name may be that of a source.

    Raises:
        OSError: the source cannot be read.
    """
    source = source_of(name)
    if source is None:
        return name, args
    if source == "local-dir":
        config = json.loads((_place(name) / "config.json").read_text(encoding="utf-8"))
        architecture, own = config["architecture"], config.get("model_args") or {}
    else:
        from timm.models import load_model_config_from_hf

        _, architecture, own = load_model_config_from_hf(name.partition(":")[2])
    return str(architecture), {key: value for key, value in own.items() if key not in DECIDED} | args
