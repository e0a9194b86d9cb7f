"""Hold what W&B's server knows of runs and artifacts."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

KEY = "0123456789abcdef" * 2 + "deadbeef"  # 40 characters, as W&B wants them
ENTITY = "stub-team"


@dataclass
class Run:
    """Hold what the server knows of one run."""

    name: str
    project: str
    config: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)  # the last value of each variable of UpsertBucket
    history: dict[int, dict[str, Any]] = field(default_factory=dict)  # by line
    summary: dict[str, Any] = field(default_factory=dict)
    console: dict[int, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    preempting: bool = False
    starts: int = 0

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [self.history[line] for line in sorted(self.history)]

    @property
    def values(self) -> dict[str, Any]:
        """The config as a user sees it."""
        return {key: item["value"] for key, item in self.config.items() if key != "_wandb"}


@dataclass
class Artifact:
    """Hold what the server knows of one artifact; `files` are by their names in it."""

    key: str
    about: dict[str, Any]
    manifest: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    committed: bool = False


def digest(content: bytes) -> str:
    """Return the checksum that W&B's manifests have."""
    return b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
