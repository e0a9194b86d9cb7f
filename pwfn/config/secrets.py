"""Replace secrets by `***`: texts under keys like `api_key` or `token`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NAMES = r"(?:token|password|passwd|secret|api_?key|credentials?)"
_SECRET = re.compile(rf"(^|_){_NAMES}$", re.IGNORECASE)
_GIVEN = re.compile(rf"""((?:^|[^a-z0-9]){_NAMES}\s*[=:]\s*)('[^']*'|"[^"]*"|[^\s,}}]+)""", re.IGNORECASE)


def without_secrets(config: Any) -> Any:
    """Return a copy of a nested config in which `***` stands for every text under such a key."""
    if isinstance(config, Mapping):
        return {
            key: "***" if isinstance(value, str) and value and _SECRET.search(str(key)) else without_secrets(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return [without_secrets(value) for value in config]
    return config


def without_given_secrets(line: str) -> str:
    """Do the same with an override or a word of a command line: `model.args.token=***`."""
    return _GIVEN.sub(r"\1***", line)
