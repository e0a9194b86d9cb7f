"""Change bytes of sections and values of headers at random."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.artifact.forge import Forge


def random_forgeries(artifact: Path) -> Iterator[tuple[Forge, bool]]:
    """400 files with bytes of sections or values of the header changed, and whether to read the posterior."""
    dice = random.Random(1)
    for _ in range(150):
        forge = Forge(artifact)
        name = dice.choice(["contexts", "tables", "symbols", "free", "sigma_tables", "sigma_symbols", "sigma_values"])
        content = forge.section(name)
        for _ in range(dice.choice([1, 10, 1000])):
            content[dice.randrange(len(content))] = dice.randrange(256)
        forge.replace(name, bytes(content))
        yield forge, name.startswith("sigma")
    for _ in range(250):
        forge = Forge(artifact)
        scramble(forge.header, dice)
        yield forge, dice.random() < 0.3


def scramble(node: Any, dice: random.Random) -> None:
    """Put something else at one random place of a nested structure."""
    keys = list(node) if isinstance(node, dict) else range(len(node))
    key = dice.choice(list(keys))
    if isinstance(node[key], dict | list) and node[key] and dice.random() < 0.9:
        scramble(node[key], dice)
        return
    worst = [None, -1, 0, 1, 2, 2**31, 2**32, 2**63, 2**64, 1e308, 0.5, "", "x", "../x", True, [], {}, [[]], [0] * 20]
    node[key] = dice.choice(worst)
