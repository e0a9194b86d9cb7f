"""A second reader of model.pwfn, written from docs/artifact.md with the standard library alone: no numpy, no pwfn.

Slow and plain: it stands for a reader in another language, and is what the fast one is compared with.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from bisect import bisect_right
from itertools import accumulate, product
from pathlib import Path
from typing import Any


class Ans:
    """Decode as constriction's default ANS coder: words of 32 bits, a state of 64, frequencies that sum to 2^24."""

    def __init__(self, content: bytes) -> None:
        self.words = [word for (word,) in struct.iter_unpack("<I", content)]
        self.state = 0
        for _ in range(2):
            if self.words:
                self.state = self.state << 32 | self.words.pop()

    def pop(self, starts: list[int]) -> int:
        quantile = self.state % 2**24
        symbol = bisect_right(starts, quantile) - 1  # of two equal starts the first has the frequency 0
        frequency = starts[symbol + 1] - starts[symbol]
        self.state = (self.state >> 24) * frequency + quantile - starts[symbol]
        if self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()
        return symbol


def frequencies(levels: bytes) -> list[int]:
    weights = [(8 + (level - 1) % 8) << ((level - 1) // 8) if level else 0 for level in levels]
    used = sum(1 for level in levels if level)
    found = [1 + weight * (2**24 - used) // sum(weights) if weight else 0 for weight in weights]
    found[weights.index(max(weights))] += 2**24 - sum(found)
    return found


def read(path: Path) -> tuple[dict[str, Any], dict[str, list[float]], dict[str, bytes]]:
    """The header, the coded tensors as flat lists of numbers, the other tensors as bytes; each under every name."""
    content = path.read_bytes()
    magic, version, stored, size, digest = struct.unpack("<8sIII32s", content[:52])
    assert magic == b"\x89PWFN\r\n\x1a"
    assert version in (1, 2)
    assert hashlib.sha256(content[:-32]).digest() == content[-32:]
    assert hashlib.sha256(content[52 : 52 + stored]).digest() == digest
    text = zlib.decompress(content[52 : 52 + stored])
    assert len(text) == size
    header = json.loads(text)
    sections, at = {}, 52 + stored
    for section in header["sections"]:
        sections[section["name"]] = content[at : at + section["stored"]]
        at += section["stored"]
    assert at == len(content) - 32
    contexts, tables = zlib.decompress(sections["contexts"]), zlib.decompress(sections["tables"])
    values = codebook(header["codebook"])
    alphabet = len(values) + 1
    by_table = [frequencies(tables[i * alphabet : (i + 1) * alphabet]) for i in range(header["tables"])]
    free = [value for (value,) in struct.iter_unpack("<f", sections["free"])]
    ans, digest_of_weights, coded = Ans(sections["symbols"]), hashlib.sha256(), {}
    for tensor in header["coded"]:
        symbols, contexts = decode(tensor, contexts, by_table, ans)
        numbers = [values[s] if s < len(values) else free.pop(0) for s in symbols]
        digest_of_weights.update(struct.pack(f"<{len(numbers)}f", *numbers))
        coded |= dict.fromkeys(tensor["names"], numbers)
    assert digest_of_weights.hexdigest() == header["weights_sha256"]
    assert not contexts
    assert not free
    assert ans.state == 0
    assert ("plain_form" in header) == (version == 2)
    return header, coded, plain(header, sections["plain"]) | filled(header)


def codebook(book: dict[str, Any]) -> list[float]:
    if book["bits"] is not None:
        return [struct.unpack("<f", struct.pack("<I", bits))[0] for bits in book["bits"]]
    return [math.ldexp(numerator, book["exponent"]) for numerator in book["numerators"]]


def decode(tensor: dict[str, Any], contexts: bytes, tables: list[list[int]], ans: Ans) -> tuple[list[int], bytes]:
    """The symbols of one tensor in C order, and what is left of the section `contexts`."""
    long = [size for size in tensor["shape"] if size != 1]
    a, b = [*long, 1, 1][:2]
    shape = (a, b, math.prod(long[2:]))
    of = []
    for size, classes in zip(shape, tensor["classes"], strict=True):
        of.append(contexts[:size] if classes > 1 else bytes(size))
        contexts = contexts[size:] if classes > 1 else contexts
    count = math.prod(tensor["classes"])
    ids = [number for (number,) in struct.iter_unpack("<H", contexts[: 2 * count])]
    symbols = [0] * math.prod(shape)
    for context, classes in zip(ids, product(*map(range, tensor["classes"])), strict=True):
        known = [symbol for symbol, frequency in enumerate(tables[context]) if frequency]
        starts = [0, *accumulate(tables[context])]
        places = [[i for i in range(size) if axis[i] == c] for size, axis, c in zip(shape, of, classes, strict=True)]
        for i, j, k in product(*places):
            symbols[(i * shape[1] + j) * shape[2] + k] = known[0] if len(known) == 1 else ans.pop(starts)
    return symbols, contexts[2 * count :]


def filled(header: dict[str, Any]) -> dict[str, bytes]:
    found = {}
    for one in header.get("filled", []):
        found |= dict.fromkeys(one["names"], struct.pack("<I", one["bits"]) * math.prod(one["shape"]))
    return found


def plain(header: dict[str, Any], content: bytes) -> dict[str, bytes]:
    sizes = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
    lengths = [math.prod(one["shape"]) * sizes[one["dtype"]] for one in header["plain"]]
    starts = [0, *accumulate(lengths)]
    found = {}
    for one, start, length in zip(header["plain"], starts, lengths, strict=False):
        found |= dict.fromkeys(one["names"], content[start : start + length])
    return found
