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
