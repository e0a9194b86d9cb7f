"""Parse, expand and apply single overrides of a command line, also such as have an unknown key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from pwfn.config.key_hints import KeyHints
from pwfn.config.wording.messages import also, nearest
from pwfn.config.wording.text_values import NeedsQuotes, TextValues, words_together
from pwfn.errors import one_line


class OverrideReader:
    """Parse overrides one by one; faults of an override itself go to `faults`.

    Args:
        loader: of the YAML files.
        config_name: the one that the overrides belong to.
        schema: the class of the whole, which tells the keys that are paths and texts. Its `option_hint(group, option)`
            may know how an option that is not in the group is written instead, or say None.
    """

    def __init__(self, loader: ConfigLoader, config_name: str, schema: type[Any] | None = None) -> None:
        self.loader = loader
        self.config_name = config_name
        self.parser = OverridesParser.create(config_loader=loader)
        self.hint: Callable[[str, str], str | None] = getattr(schema, "option_hint", lambda _group, _option: None)
        self.texts = TextValues(KeyHints(schema))
        self.faults: list[str] = []

    def parse_line(self, words: list[str]) -> list[Override]:
        """Parse the words of a command line; those that belong to one value are one fault."""
        return [override for group in words_together(words) for override in self._parse_together(group)]

    def parse(self, line: str) -> list[Override]:
        """Return the override in a list, or an empty list if it cannot be parsed."""
        try:
            return self.parser.parse_overrides([line])
        except HydraException as error:
            reason = one_line(str(error).partition("\nSee https")[0], limit=None)
            return self._instead(self.texts.unreadable(line, reason))

    def _parse_together(self, words: list[str]) -> list[Override]:
        if len(words) == 1:
            return self.parse(words[0])
        meant = self._readable(" ".join(words)) and not self._readable(words[0])
        if (fault := self.texts.split_by_the_shell(words, whole=meant)) is None:
            return [override for word in words for override in self.parse(word)]
        self.faults.append(fault)
        return []

    def _instead(self, wrong: NeedsQuotes) -> list[Override]:
        self.faults.append(wrong.fault)
        return self.parser.parse_overrides([wrong.instead]) if wrong.instead is not None else []

    def _readable(self, line: str) -> bool:
        try:
            return bool(self.parser.parse_overrides([line]))
        except HydraException:
            return False

    def alternatives(self, override: Override, multirun: bool) -> list[Override]:
        """Return the single-valued overrides that one stands for: none where it has to be left out."""
        if not self.is_group(override) and (quoted := self.texts.needs_quotes(override, multirun)) is not None:
            return self._instead(quoted)
        if not override.is_sweep_override():
            return self._with_known_option(override)
        if override.is_hydra_override():
            self.faults.append(f"{override.input_line}: Hydra's own settings cannot be swept; give one value")
            return []
        swept = self._swept(override) if override.is_discrete_sweep() else self._ends(override)
        if not multirun:
            self._refuse_sweep(override)
            swept = swept[:1]
        return [right for single in swept for right in self._with_known_option(single)]

    def is_group(self, override: Override) -> bool:
        """Say whether an override chooses an option of a config group."""
        return bool(self._options(override.key_or_group)) and not isinstance(override.value(), dict)

    def _swept(self, override: Override) -> list[Override]:
        try:
            values = list(override.sweep_string_iterator())
        except (ValueError, TypeError, HydraException) as error:
            self.faults.append(f"{override.input_line}: {one_line(error, limit=None)}")
            return []
        if not values:
            self.faults.append(f"{override.input_line}: must stand for at least one value")
        return [single for value in values for single in self.parse(f"{override.get_key_element()}={value}")]

    def _ends(self, override: Override) -> list[Override]:
        """Return the ends of an interval; where they are right, the values between them are."""
        interval = override.value()
        if not isinstance(interval, IntervalSweep):
            return []  # only the sweeper knows the values
        ends = (interval.start, interval.end)
        return [single for end in ends for single in self.parse(f"{override.get_key_element()}={end}")]

    def _refuse_sweep(self, override: Override) -> None:
        key, value = override.key_or_group, override.get_value_string()
        listed = override.value_type == ValueType.SIMPLE_CHOICE_SWEEP and not self.texts.hints.takes_text_alone(key)
        as_list = f"; for one list write {key}=[{value}]" if listed else ""
        self.faults.append(f"{key} = {value}: must be one value, or a sweep with the flag -m{as_list}")

    def _with_known_option(self, override: Override) -> list[Override]:
        """Return the override, or with a fault its nearest option, so that what depends on it is judged."""
        group, given = override.key_or_group, override.value()
        if override.is_hydra_override() and "/" in group and not self._options(group):
            groups = [f"hydra/{name}" for name in self.loader.get_group_options("hydra", ObjectType.GROUP)]
            self.faults.append(f"{group} = {given!r}: unknown group{also(nearest(group, groups))}")
            return []
        slashed = group.replace(".", "/")
        if "." in group and isinstance(given, str) and (nested := self._options(slashed)):
            self.faults.append(f"{group} = {given!r}: must be written {slashed}= and one of {', '.join(nested)}")
            return self.parse(f"{slashed}={given}") if given in nested else []
        if override.is_delete() or not self.is_group(override):
            return [override]
        options = given if isinstance(given, list) else [given]
        right = [self._known_option(group, option) for option in options if option is not None]
        if all(right):
            return [override]
        if isinstance(given, list) or not (match := nearest(str(given), self._options(group))):
            return []
        return self.parse(f"{override.get_key_element()}={match}")

    def _known_option(self, group: str, option: Any) -> bool:
        folder, _, name = f"{group}/{option}".rpartition("/")  # an option may be in a folder below its group
        if name.removesuffix(".yaml") in self._options(folder) or name == "null":
            return True
        listed = self._options(group)
        hint = self.hint(group, str(option))
        instead = f"; {hint}" if hint else also(nearest(str(option), listed))
        self.faults.append(f"{group} = {option!r}: must be one of {', '.join(listed)}{instead}")
        return False

    def _options(self, group: str) -> list[str]:
        return self.loader.get_group_options(group, ObjectType.CONFIG)


def apply(cfg: DictConfig, override: Override) -> list[str]:
    """Apply a value override to `cfg`, unknown keys included; return why that is impossible, if so."""
    key, line = override.key_or_group, override.input_line
    if override.package is not None:
        return [f"{line}: there is no group {key!r}"]
    if override.is_delete():
        return _delete(cfg, key, str(line))
    try:
        present = override.is_add() and OmegaConf.select(cfg, key, throw_on_missing=False) is not None
        if present and not isinstance(override.value(), dict | list):
            return [f"{line}: {key} has a value already, so write it without the +"]
        OmegaConf.update(cfg, key, override.value(), merge=True, force_add=True)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        return [f"{line}: {reason_of(error)}"]
    return []


def _delete(cfg: DictConfig, key: str, line: str) -> list[str]:
    parent, _, leaf = key.rpartition(".")
    section = OmegaConf.select(cfg, parent) if parent else cfg
    if not isinstance(section, DictConfig) or leaf not in section:
        return [f"{line}: there is no such key to take away"]
    with open_dict(section):
        del section[leaf]
    return []


def reason_of(error: BaseException) -> str:
    """Return a message of Hydra or OmegaConf in one line, without search path and inner details."""
    text = str(error) or str(error.__cause__ or type(error).__name__)
    cause = f" ({error.__cause__})" if isinstance(error.__cause__, OmegaConfBaseException) and str(error) else ""
    return one_line(
        text.partition("\nSearch path")[0].partition("\nConfig search path")[0] + cause.split("\n")[0], limit=None
    )
