"""Read W&B's variables for what the configuration leaves open; hold both to W&B's limits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from pwfn.errors import Fault, InvalidValueError

VARIABLES = {
    "project": "WANDB_PROJECT",
    "mode": "WANDB_MODE",
    "entity": "WANDB_ENTITY",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "tags": "WANDB_TAGS",
    "notes": "WANDB_NOTES",
    "save_dir": "WANDB_DIR",
}
NAME, RUN_ID = "WANDB_NAME", "WANDB_RUN_ID"
MODES = {"offline": "offline", "online": "online", "disabled": "disabled", "dryrun": "offline", "run": "online"}
LONGEST_NAME, LONGEST_TAG = 128, 64
_NOT_IN_PROJECT = "/\\#?%:"
_NOT_IN_ID = ":;,#?/'"


def from_environment(key: str) -> Any:
    """Return what the variable of a key says, tags as a tuple; None where it is not set or empty."""
    text = os.environ.get(VARIABLES[key], "").strip()
    if key == "tags":
        return tuple(tag.strip() for tag in text.split(",")) if text else None
    return (MODES.get(text, text) if key == "mode" else text) or None


def resolve(configured: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the value of every key: the configured one, else that of its variable, else the default.

    Args:
        configured: by the keys of `VARIABLES`; None and an empty tuple leave a key open.
        defaults: of keys that neither speaks of.

    Raises:
        InvalidValueError: for every value that W&B does not take, with the variable it is from.
    """
    values, faults = {}, []
    for key, variable in VARIABLES.items():
        is_open = configured[key] in (None, (), [])
        found = from_environment(key) if is_open else None
        value = found if found is not None else defaults.get(key) if is_open else configured[key]
        if value is not None and (allowed := _broken_rule(key, value)):
            source = f" (it is from {variable})" if found is not None else ""
            faults.append(Fault(key, value, f"{allowed}{source}"))
        values[key] = value
    if faults:
        raise InvalidValueError(faults)
    return values


def remarks(configured: Mapping[str, Any]) -> list[str]:
    """Return a line for each key of which the configuration and its variable say different things."""
    lines = []
    for key, variable in VARIABLES.items():
        mine, other = configured[key], from_environment(key)
        if mine not in (None, (), []) and other is not None and mine != other:
            lines.append(f"logger.{key} = {mine!r} takes precedence over {variable} = {os.environ[variable]!r}")
    return lines


def new_run_id() -> str | None:
    """Return the id that WANDB_RUN_ID gives to a new run, None where it gives none.

    Raises:
        InvalidValueError: where W&B takes no such id.
    """
    value = os.environ.get(RUN_ID) or None
    if value is not None and (set(value) & set(_NOT_IN_ID) or value != value.strip() or len(value) > LONGEST_NAME):
        without = f"without {' '.join(_NOT_IN_ID)} and without blanks around"
        allowed = f"at most {LONGEST_NAME} characters {without} (it is from {RUN_ID})"
        raise InvalidValueError([Fault("run_id", value, allowed)])
    return value


def shortened(name: str) -> str:
    """Shorten a name to what W&B takes; two that differ anywhere stay different."""
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - len(digest) - 4]}... {digest}"


def _broken_rule(key: str, value: Any) -> str | None:
    """Say what is allowed for a value that is not."""
    if key == "tags":
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        holds = is_list and all(is_name(str(tag), LONGEST_TAG) for tag in value)
        return None if holds else f"a list of words of 1 to {LONGEST_TAG} characters, as in [paper, resnet18]"
    if key == "mode":
        return None if value in ("offline", "online", "disabled") else "offline, online or disabled"
    if key == "project":
        holds = is_name(value, LONGEST_NAME) and not set(value) & set(_NOT_IN_PROJECT)
        return None if holds else f"a name of 1 to {LONGEST_NAME} characters without {' '.join(_NOT_IN_PROJECT)}"
    if key == "save_dir":
        return None if value else "a folder; . is the one the run was started in"
    if key == "notes":
        return None
    longest = LONGEST_TAG if key == "job_type" else LONGEST_NAME
    return None if is_name(value, longest) else f"a name of 1 to {longest} characters"


def is_name(value: str, longest: int) -> bool:
    """Tell whether a value is not too long, and more than blanks."""
    return len(value) <= longest and bool(value.strip())
