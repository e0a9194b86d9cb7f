"""Try what users type: text that Hydra's grammar refuses, values that the shell splits, paths."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from pwfn.config.wording.quoting import as_typed
from real_world_cases import Case, Done
from real_world_cases.images import TINY, photos

PATHS = ("a=b", "set (1)", "图片", "it's", "a,b", "x[1]")


def bare(name: str) -> Case:
    """Make the case of a folder's unquoted path: refused, with a word that gives this very path."""

    def outcome(done: Done) -> str:
        line = done.refused("must be in quotes")
        words = shlex.split(
            line.rpartition("characters: ")[2] if "characters: " in line else line.partition(": must")[2]
        )
        word = next(word for word in words if word.startswith("data.root=")).rstrip(",")
        (given,) = OverridesParser.create().parse_overrides([word])
        assert given.value() == str(done.inputs / name), f"the word shown gives {given.value()!r}"
        return line

    return Case(
        f"{name} as it is", lambda folder: [*TINY, f"data.root={photos(folder / name, 'train', 'val')}"], outcome
    )


def pasted(name: str) -> Case:
    """Make the case of the same folder with the word that is shown: read."""

    def arguments(folder: Path) -> Sequence[str]:
        root = photos(folder / name, "train", "val")
        return [*TINY, *shlex.split(as_typed("data.root", str(root)))]

    return Case(f"{name} as shown", arguments, read)


def read(done: Done) -> str:
    """Say what a run has read."""
    assert done.code == 0, done.line("pwfn:")
    return done.line("12 training, 12 test images")


def relative(folder: Path) -> Sequence[str]:
    """Give a path from the folder above, in which the program is started, and let Hydra leave that folder."""
    photos(folder / "mine", "train", "val")
    return [*TINY, "data.root=inputs/mine", "hydra.job.chdir=true"]


def refused(name: str, words: str, *arguments: str) -> Case:
    """Make the case of a command line that is refused in one line."""
    return Case(name, lambda folder: [*TINY, *arguments], lambda done: done.refused(words))


CASES = [
    *map(bare, PATHS),
    *map(pasted, PATHS),
    Case("relative paths with chdir", relative, read),
    refused("a text with a comma", "'logger.notes=\"a, b\"'", "logger=wandb", "logger.notes=a, b"),
    refused("the same in a sweep", '\'logger.notes="a","b"\'', "-m", "logger=wandb", "logger.notes=a, b"),
    refused("a text without quotes", "'logger.notes=\"first try\"'", "logger=wandb", "logger.notes=first", "try"),
    refused("a list without quotes", "scale=[0.6, 1]'", "data/augment=timm", "data.augment.scale=[0.6,", "1]"),
    refused("a home that is not there", "/no-such-folder/of-mine", "data.root=~/no-such-folder/of-mine"),
    refused("a number for a name", "'name=\"123\"'", "name=123"),
]
