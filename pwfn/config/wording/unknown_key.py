"""Word the fault of an unknown key: what is allowed, and what may have been meant."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pwfn.config.classes import concrete, exported_name
from pwfn.config.wording.messages import also, nearest_key


@dataclass(frozen=True)
class UnknownKey:
    """Record an unknown key; its nearest match is looked up last, when all keys of the tree are known.

    Attributes:
        path: the dotted key.
        value: what it was given.
        section: the dotted key of the section that does not have it; empty for the whole.
        allowed: the keys of the section.
        owners: other classes that the section may be of, and that have the key.
    """

    path: str
    value: Any
    section: str
    allowed: list[str]
    owners: list[str]

    def line(self, known: list[str]) -> str:
        """Return the fault; `known` are the keys of the whole configuration."""
        where = f"allowed in {self.section}" if self.section else "allowed"
        keys = ", ".join(self.allowed) or "none"
        if self.owners:
            meant = (
                f"; it is a key of {' and '.join(self.owners)}: {self.section.replace('.', '/')}=<option> chooses that"
            )
        else:
            meant = also(nearest_key(self.path, known))
        return f"{self.path} = {self.value!r}: unknown key{meant}; {where}: {keys}"


def owners(key: str, cls: type, allowed: Sequence[type]) -> list[str]:
    """Return the names of the classes of the types `allowed`, other than `cls`, that have `key`."""
    found = [one for top in allowed for one in concrete(top) if one is not cls]
    return sorted({exported_name(one) for one in found if key in inspect.signature(one).parameters})
