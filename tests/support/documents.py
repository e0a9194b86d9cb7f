"""The commands that the README and the docs tell a reader to type."""

from __future__ import annotations

import re
import shlex
from pathlib import Path


def commands_of(document: Path, start: str = "python train.py") -> list[list[str]]:
    """The commands in a document's bash blocks that begin with `start`, split as a shell would."""
    blocks = [block.replace("\\\n", " ") for block in re.findall(r"```bash\n(.*?)```", document.read_text(), re.S)]
    return [
        shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.startswith(start)
    ]


def named_files(document: Path) -> set[str]:
    """The files and folders that the first column of a document's tables names; a folder without its slash."""
    rows = re.findall(r"^\| (`[^|]*) \|", document.read_text(), re.MULTILINE)
    return {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
