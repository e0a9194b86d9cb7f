"""Code the weights of a network as sections of bytes, and decode them tensor by tensor.

The coder is a stack, so the tensors go on it from the last to the first and come off in their order.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pwfn.artifact.container import ArtifactError, Buffer, inflate
from pwfn.artifact.header import Coded, Header, view_shape
from pwfn.artifact.parts import Parts
from pwfn.artifact.sections.coding import Decoder, Encoder, Ints, Levels, Symbols, Table
from pwfn.artifact.sections.contexts import Classes, choose
from pwfn.artifact.sections.tables import Ids, pool


@dataclass(frozen=True)
class Encoded:
    """Hold coded weights.

    Attributes:
        sections: by name, the bytes to store and their size when inflated.
        coded: the tensors in the header.
        tables: how many frequency tables there are.
        counts: how often each symbol occurs, [tensors, entries + 1].
        sha256: of the weights: float32, little endian, in order.
    """

    sections: dict[str, tuple[Buffer, int]]
    coded: tuple[Coded, ...]
    tables: int
    counts: Ints
    sha256: str


@dataclass(frozen=True)
class Decoded:
    """Hold a decoded tensor.

    Attributes:
        coded: its names, shape and classes.
        values: float32, in its shape.
        symbols: in its shape; the last symbol means free.
    """

    coded: Coded
    values: NDArray[np.float32]
    symbols: Symbols


def deflated(content: bytes) -> tuple[Buffer, int]:
    """Return a section that is stored compressed, and its size when inflated."""
    return zlib.compress(content, 9), len(content)


def uncompressed(content: bytes) -> tuple[Buffer, int]:
    """Return a section that compression would not shrink, and its size."""
    return content, len(content)


def encode_weights(parts: Parts) -> Encoded:
    """Choose contexts and tables for every tensor, then code all of them."""
    escape = parts.book.escape
    magnitudes = np.append(np.abs(parts.book.values.astype(np.float64)), 0.0)
    chosen, counts, coded, free = [], [], [], []
    digest = hashlib.sha256()
    for index, one in enumerate(parts.weights):
        symbols = parts.symbols(index)
        digest.update(one.values.astype("<f4", copy=False).data)
        free.append(one.values[symbols == escape].astype("<f4").tobytes())
        classes, by_context = _choose(symbols.reshape(view_shape(one.values.shape)), magnitudes)
        chosen.append(classes)
        counts.append(by_context)
        shape = tuple(one.values.shape)
        coded.append(Coded(names=one.names, shape=shape, classes=classes.counts, free=len(free[-1]) // 4))
    levels, ids = pool(counts)
    encoder = _encode(parts, chosen, ids, levels)
    sections = {
        "contexts": deflated(b"".join(_context_bytes(c, i) for c, i in zip(chosen, ids, strict=True))),
        "tables": deflated(levels.tobytes()),
        "symbols": uncompressed(encoder.words()),
        "free": uncompressed(b"".join(free)),
    }
    return Encoded(sections, tuple(coded), len(levels), np.stack([one.sum(0) for one in counts]), digest.hexdigest())


def _choose(symbols: Symbols, magnitudes: NDArray[np.float64]) -> tuple[Classes, Ints]:
    """Call `choose` with the tensor's own symbols alone: how finely it divides depends on their number."""
    present, own = np.unique(symbols, return_inverse=True)
    classes, counts = choose(own.reshape(symbols.shape).astype(np.int32), magnitudes[present])
    by_context = np.zeros((len(counts), len(magnitudes)), dtype=np.int64)
    by_context[:, present] = counts
    return classes, by_context


def _encode(parts: Parts, chosen: list[Classes], ids: list[Ids], levels: Levels) -> Encoder:
    tables = [Table(row) for row in levels]
    encoder = Encoder()
    for index in reversed(range(len(chosen))):
        symbols = parts.symbols(index)
        by_class = chosen[index].sort(symbols.reshape(view_shape(symbols.shape)))
        for block, table in reversed(list(zip(chosen[index].blocks(), ids[index], strict=True))):
            encoder.push(by_class[block].ravel(), tables[table])
    return encoder


def _context_bytes(classes: Classes, ids: Ids) -> bytes:
    axes = (of.tobytes() for of, count in zip(classes.of, classes.counts, strict=True) if count > 1)
    return b"".join([*axes, ids.astype("<u2").tobytes()])


def decode_weights(header: Header, sections: Mapping[str, memoryview]) -> Iterator[Decoded]:
    """Yield the tensors in order; raise ArtifactError, at the latest after the last, if any is wrong."""
    sizes = {section.name: section.size for section in header.sections}
    contexts = memoryview(inflate(sections["contexts"], sizes["contexts"], "section contexts"))
    levels = np.frombuffer(inflate(sections["tables"], sizes["tables"], "section tables"), dtype=np.uint8)
    tables = Tables(levels.reshape(header.tables, header.entries + 1))
    lookup = np.append(header.codebook.values(), np.float32(0))
    free = np.frombuffer(sections["free"], dtype="<f4")
    decoder = Decoder(sections["symbols"])
    digest = hashlib.sha256()
    for coded in header.coded:
        classes, ids, contexts = read_context(coded, contexts)
        symbols = _decode(decoder, tables, classes, ids, view_shape(coded.shape)).reshape(coded.shape)
        values = lookup[symbols]
        if coded.free or len(free):
            missing = symbols == header.entries
            if np.count_nonzero(missing) != coded.free:
                raise ArtifactError(f"{coded.names[0]} has not the {coded.free} free weights the header announces")
            values[missing], free = free[: coded.free], free[coded.free :]
        digest.update(values.astype("<f4", copy=False).data)
        yield Decoded(coded, values, symbols)
    decoder.finish()
    if digest.hexdigest() != header.weights_sha256:
        raise ArtifactError("the decoded weights are not those that were written: their checksum is wrong")


class Tables:
    """Hold the tables of a file, each made ready when it is first used."""

    def __init__(self, levels: Levels) -> None:
        self._levels = levels
        self._ready: dict[int, Table] = {}

    def __getitem__(self, index: int) -> Table:
        if index not in self._ready:
            if index >= len(self._levels):
                raise ArtifactError(f"frequency table {index} is asked for, there are {len(self._levels)}")
            self._ready[index] = Table(self._levels[index])
        return self._ready[index]


def read_context(coded: Coded, content: memoryview) -> tuple[Classes, Ids, memoryview]:
    """Return classes and table numbers of one tensor, and the bytes that follow them.

    Raises:
        ArtifactError: a class is above those that the tensor may have.
    """
    of = []
    for size, count in zip(view_shape(coded.shape), coded.classes, strict=True):
        one = np.zeros(size, dtype=np.uint8)
        if count > 1:
            one, content = np.frombuffer(content[:size], dtype=np.uint8), content[size:]
            if one.max(initial=0) >= count:
                raise ArtifactError(f"{coded.names[0]} has a class above the {count} it may have")
        of.append(one)
    classes = Classes(coded.classes, (of[0], of[1], of[2]))
    ids = np.frombuffer(content[: 2 * classes.contexts], dtype="<u2")
    return classes, ids, content[2 * classes.contexts :]


def _decode(decoder: Decoder, tables: Tables, classes: Classes, ids: Ids, shape: tuple[int, int, int]) -> Symbols:
    by_class = np.empty(shape, dtype=np.int32)
    for block, table in zip(classes.blocks(), ids.tolist(), strict=True):
        part = by_class[block]
        part[...] = decoder.pop(part.size, tables[table]).reshape(part.shape)
    return classes.unsort(by_class)
