"""The commands that the README and the docs tell a reader to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_PROGRAMS = "python|pwfn|make|pip|wandb|torchrun|srun|eval|export|tensorboard|mlflow|trackio|git"
_COMMAND = re.compile(rf"^\s*(?:[A-Z_]+=\S+ )*(?:{_PROGRAMS})(?: |$)")


@dataclass(frozen=True)
class Shown:
    """A command that a document shows: its words, and all comments of its block, which may say what it needs."""

    line: int
    text: str
    words: list[str]
    comments: str


def shown_commands(document: Path) -> Iterator[Shown]:
    """The commands in all blocks of a document that are no Python and no YAML, lines joined at their backslashes."""
    text = document.read_text()
    for block in _FENCE.finditer(text):
        language, body = block[1], block[2].replace("\\\n", " ")
        if language in ("python", "yaml", "css", "json"):
            continue
        comments = " ".join(re.findall(r"(?:^|\s)#(?!SBATCH|!)(.*)$", body, re.MULTILINE))
        for line in body.splitlines():
            if _COMMAND.match(line) and not line.startswith("pwfn:"):
                words = shlex.split(re.sub(r"<[^>]*>", "<...>", line), comments=True)
                yield Shown(text.count("\n", 0, block.start()) + 1, line.strip(), words, comments)


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
