"""Quote texts for Hydra's grammar, and overrides for a shell."""

from __future__ import annotations

import re
import shlex

from hydra.core.override_parser.types import Quote, QuotedString

_BARE = re.compile(r"[\w@%+=:,./-]+", re.ASCII)  # what no shell touches
_PATH = re.compile(r"[\w./-]*[A-Za-z_/][\w./-]*", re.ASCII)  # what Hydra reads as it is, and as no number
_SPECIAL = set("$`!")  # what a shell, or its history, looks for within double quotes as well


def quoted(text: str, *, double: bool = False) -> str:
    """Quote `text` for Hydra's grammar, so that it is no number, list or interpolation."""
    literal = re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", text)  # as OmegaConf escapes it
    return QuotedString(literal, Quote.double if double else Quote.single).with_quotes()


def shell_word(word: str) -> str:
    """Quote a word for a POSIX shell, if it has to be, in the way that is easiest to read."""
    if _BARE.fullmatch(word):
        return word
    if "'" not in word:
        return f"'{word}'"
    if set(word) & _SPECIAL:
        return shlex.quote(word)
    return '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'


def as_typed(key: str, *texts: str) -> str:
    """Return what is typed in a shell to give `key` a text, or to sweep over several."""
    return shell_word(f"{key}={','.join(quoted(text, double=True) for text in texts)}")


def path_as_typed(key: str, path: str) -> str:
    """Return what is typed in a shell to give `key` a path, without quotes where it needs none."""
    return f"{key}={path}" if _PATH.fullmatch(path) and path not in ("null", "true", "false") else as_typed(key, path)
