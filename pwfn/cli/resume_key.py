"""Tell on a command line whether `resume=` names the folder of a run."""

from __future__ import annotations

KEY = "resume="
SETTINGS = ("resume=auto", "resume=null")  # no folders: pwfn.cli.again


def is_folder(word: str) -> bool:
    """Return whether one word of a command line asks to resume the run in a folder."""
    return word.startswith(KEY) and word not in SETTINGS
