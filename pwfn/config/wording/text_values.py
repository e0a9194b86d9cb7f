"""Say how to write a path or a text whose bare value Hydra's grammar reads otherwise, or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString

from pwfn.config.key_hints import KeyHints
from pwfn.config.wording.quoting import as_typed, quoted, shell_word

_OVERRIDE = re.compile(r"(\+{0,2}[^\s=+~'\"\[{(]+)=(.*)", re.DOTALL)
_HOME = re.compile(r"(['\"]?)(~[^,'\"]*)\1")  # one path that begins with ~, bare or quoted
_QUOTED = re.compile(r"(['\"])(.*)\1")
_FLAGS = ("--config-dir", "-cd", "--config-path", "-cp")


@dataclass(frozen=True)
class NeedsQuotes:
    """Hold the fault of a value without quotes, and an override that may stand for it meanwhile."""

    fault: str
    instead: str | None = None


class TextValues:
    """Judge the values of the keys that are paths or texts."""

    def __init__(self, hints: KeyHints) -> None:
        self.hints = hints

    def unreadable(self, line: str, reason: str) -> NeedsQuotes:
        """Return what is wrong with an override that Hydra's grammar refuses for `reason`."""
        key, text = key_and_value(line)
        name = key.lstrip("+")
        if name and text[:1] == "[" and text[-1:] == "]" and self.hints.takes_list_of_texts(name):
            each = ",".join(quoted(part.strip(), double=True) for part in text[1:-1].split(","))
            instead = f"{key}=[{each}]"
            fault = f"{key} = {text}: must have its entries in quotes, with these characters: {shell_word(instead)}"
            return NeedsQuotes(fault, instead)
        if name and self.hints.takes_text(name) and (self.hints.takes_text_alone(name) or text[:1] not in "[{"):
            fault = f"{key} = {text!r}: must be in quotes, with these characters: {as_typed(key, text)}"
            if "," in text:
                fault = _one_or_several(key, text, [part.strip() for part in text.split(",")])
            return NeedsQuotes(fault, f"{key}={quoted(text)}")
        as_text = f"; a text is written {as_typed(key, text)}" if name and not self.hints.of(name) else ""
        return NeedsQuotes(f"{line!r}: must be of the form key=value ({reason}){as_text}")

    def split_by_the_shell(self, words: Sequence[str], *, whole: bool) -> str | None:
        """Return the fault of several words that are one value; None where they are not.

        Args:
            words: the first begins with a key; the others have none.
            whole: whether Hydra's grammar reads all of them together, and not the first alone.
        """
        line, rest = " ".join(words), " ".join(words[1:])
        key, text = key_and_value(line)
        if whole:
            return f"{words[0]!r} {rest!r}: must be one word, with quotes around its spaces: {shell_word(line)}"
        if not key or not self.hints.takes_text(key.lstrip("+")):
            return None
        return f"{rest!r}: must be of the form key=value, or in quotes with the value before it: {as_typed(key, text)}"

    def needs_quotes(self, override: Override, multirun: bool) -> NeedsQuotes | None:
        """Return what is wrong with a bare value that Hydra reads as something else than one text, or None.

        In a path or a free text a comma may belong to the text, also where a sweep is asked for.
        """
        _, text = key_and_value(str(override.input_line))
        key, value, hydras = override.get_key_element(), override.value(), override.is_hydra_override()
        if isinstance(value, ChoiceSweep) and value.simple_form:
            bare = not all(isinstance(part, QuotedString) for part in value.list)
            if (hydras and multirun) or not bare or not self.hints.is_free(override.key_or_group):
                return None
            each = [part.text if isinstance(part, QuotedString) else str(part) for part in value.list]
            return NeedsQuotes(_one_or_several(key, text, each), f"{key}={quoted(text)}")
        other = isinstance(value, bool | int | float | list | dict) and not isinstance(value, str)
        if not other or hydras or not self.hints.takes_text_alone(override.key_or_group):
            return None
        return NeedsQuotes(
            f"{key} = {text}: must be a text, in quotes where it does not look like one: {as_typed(key, text)}",
            f"{key}={quoted(text)}",
        )


def _one_or_several(key: str, text: str, each: Sequence[str]) -> str:
    return (
        f"{key} = {text}: must be in quotes as one text: {as_typed(key, text)}, or in quotes each to sweep over "
        f"{len(each)} values (-m): {as_typed(key, *each)}"
    )


def words_together(words: Sequence[str]) -> list[list[str]]:
    """Join to each override the words after it that are none: a shell splits bare values at spaces."""
    groups: list[list[str]] = []
    for word in words:
        if groups and not word.startswith("~") and _OVERRIDE.fullmatch(word) is None:
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups


def key_and_value(line: str) -> tuple[str, str]:
    """Split an override into its key, with any +, and its value; an empty key for no override."""
    found = _OVERRIDE.fullmatch(line)
    return (found[1], found[2]) if found else ("", line)


def with_homes(words: Sequence[str], hints: KeyHints, also: Sequence[str] = ()) -> list[str]:
    """Replace `~` at the beginning of a command line's paths: a shell leaves it after a `=`.

    Args:
        words: without the program.
        hints: tell which keys are paths.
        also: more keys that are, whose values Hydra does not read.

    Returns:
        The words, as many.
    """
    done = []
    for before, word in zip(("", *words), words, strict=False):
        key, text = key_and_value(word)
        found = _HOME.fullmatch(text)
        if key in also and (quotes := _QUOTED.fullmatch(text)) and not os.path.exists(text):
            word = f"{key}={os.path.expanduser(quotes[2])}"  # in quotes, as the paths of all other keys may have to be
        elif key in also:
            word = f"{key}={os.path.expanduser(text)}"
        elif key and found and hints.is_path(key.lstrip("+")):
            word = f"{key}={quoted(os.path.expanduser(found[2]))}"
        elif (key in _FLAGS or before in _FLAGS) and text.startswith("~"):
            word = f"{key}={os.path.expanduser(text)}" if key else os.path.expanduser(text)
        done.append(word)
    return done
