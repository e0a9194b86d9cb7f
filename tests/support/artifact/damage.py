"""Damage a file by accident: cut it short, or flip a byte."""

from __future__ import annotations

import random
from collections.abc import Iterator


def cuts(content: bytes) -> list[int]:
    """Where a file is cut short: everywhere in its preamble and near its end, and in a hundred places between."""
    dense = list(range(60)) + list(range(len(content) - 40, len(content)))
    return dense + [len(content) * i // 100 for i in range(100)]


def flips(content: bytes) -> Iterator[tuple[int, bytearray]]:
    """500 copies with one byte changed, and where it is."""
    dice = random.Random(0)
    head = header_end(content)
    positions = list(range(52)) + [dice.randrange(head) for _ in range(148)]
    positions += [dice.randrange(len(content)) for _ in range(300)]
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= dice.randrange(1, 256)
        yield position, damaged


def header_end(content: bytes) -> int:
    return 52 + int.from_bytes(content[12:16], "little")
