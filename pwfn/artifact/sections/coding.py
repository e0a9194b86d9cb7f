"""Code symbols as bits and back, exact on every machine: integer tables for constriction's ANS coder.

A table holds a *level*, one byte, for each symbol: a tiny floating-point number (three bits of significand) that stands
for how often the symbol occurs, 0 = never. Frequencies, integers that sum to 2^24, follow from the levels by integer
arithmetic alone, so no two machines can round them differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pwfn.artifact.container import ArtifactError
from pwfn.errors import one_line

Ints = NDArray[np.int64]
Symbols = NDArray[np.int32]
Levels = NDArray[np.uint8]

PRECISION = 24  # frequencies sum to 2^PRECISION; fixed by constriction's default coder
NEVER = 1e6  # bits: what a symbol that a table does not know is said to cost


def levels_of(counts: Ints) -> Levels:
    """Return the levels nearest to how often each symbol occurs: `counts` of any shape, up to 2^31 - 1."""
    safe = np.maximum(counts, 1)
    exponent = np.frexp(safe.astype(np.float64))[1] - 1
    significand = np.rint(safe / 2.0 ** (exponent - 3)).astype(np.int64) - 8  # 8 carries into the next exponent
    return np.where(counts > 0, 1 + 8 * exponent + significand, 0).astype(np.uint8)


def frequencies(levels: Levels) -> Ints:
    """Return a table's frequencies: 0 for absent symbols, at least 1 for the others, 2^24 in total.

    Level q > 0 weighs w = (8 + (q - 1) % 8) * 2^((q - 1) // 8); with n symbols in use and W the sum of the weights,
    f = 1 + w * (2^24 - n) // W, and what is missing to 2^24 goes to the first of the heaviest.
    """
    used = np.flatnonzero(levels)
    code = levels[used].astype(np.int64) - 1
    weights = (8 + code % 8) << (code // 8)
    result = np.zeros(len(levels), dtype=np.int64)
    if len(used):
        result[used] = 1 + weights * ((1 << PRECISION) - len(used)) // weights.sum()
        result[used[np.argmax(weights)]] += (1 << PRECISION) - result.sum()
    return result


def costs(levels: Levels) -> NDArray[np.float64]:
    """Return the bits that each symbol costs under a table; `NEVER` for those it does not know."""
    known = levels > 0
    bits = np.full(len(levels), NEVER)
    bits[known] = PRECISION - np.log2(frequencies(levels)[known])
    return bits


class Table:
    """Prepare a table for the coder; one of a single symbol needs no bits and no coder."""

    def __init__(self, levels: Levels) -> None:
        self.symbols = np.flatnonzero(levels).astype(np.int32)
        if not len(self.symbols):
            raise ArtifactError("a frequency table is empty")
        self.model = None
        self.frequencies = frequencies(levels)[self.symbols]
        self.rank = np.full(len(levels), -1, dtype=np.int32)
        self.rank[self.symbols] = np.arange(len(self.symbols), dtype=np.int32)
        if len(self.symbols) > 1:
            from constriction import stream

            # constriction gives symbol i the frequency 1 + floor(p_i * (2^24 - n) / sum p), cumulated. For p = f - 1
            # that factor is exactly 1 and every number an integer below 2^53, so it uses f itself, unrounded.
            self.model = stream.model.Categorical((self.frequencies - 1).astype(np.float64), perfect=False)

    @property
    def least_bits(self) -> float:
        """Return the bits that the most frequent symbol costs."""
        return PRECISION - float(np.log2(self.frequencies.max()))


class Encoder:
    """Stack symbols: what is pushed last is decoded first."""

    def __init__(self) -> None:
        from constriction import stream

        self._coder = stream.stack.AnsCoder()

    def push(self, symbols: Symbols, table: Table) -> None:
        """Code symbols, flat, under one table."""
        if table.model is not None and len(symbols):
            self._coder.encode_reverse(table.rank[symbols], table.model)

    def words(self) -> bytes:
        """Return all that was pushed as 32-bit words, little endian."""
        words: bytes = self._coder.get_compressed().astype("<u4").tobytes()
        return words


class Decoder:
    """Take symbols off again, in the order they have in the tensor."""

    def __init__(self, words: memoryview) -> None:
        from constriction import stream

        self.bits = 8 * len(words) + 64  # no more can be asked of it: the words, and the coder's own state
        with coder_faults():
            self._coder = stream.stack.AnsCoder(np.frombuffer(words, dtype="<u4").astype(np.uint32))

    def pop(self, count: int, table: Table) -> Symbols:
        """Decode the next `count` symbols, which were pushed under the same table; raises ArtifactError."""
        if table.model is None:
            return np.full(count, table.symbols[0])
        if count * table.least_bits > self.bits:
            raise ArtifactError(f"{count} symbols cannot have been coded in what the file holds")
        with coder_faults():
            ranks: Symbols = self._coder.decode(table.model, count) if count else np.empty(0, dtype=np.int32)
        return table.symbols[ranks]

    def finish(self) -> None:
        """Raise ArtifactError if symbols are left over."""
        if not self._coder.is_empty():
            raise ArtifactError("the coded symbols are not those the header announces: some are left over")


@contextmanager
def coder_faults() -> Iterator[None]:
    """Turn what constriction raises for garbage, a ValueError or a panic, into an ArtifactError."""
    try:
        yield
    except ValueError as error:
        raise ArtifactError(f"the coded symbols cannot be read: {one_line(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of pyo3, which derives from BaseException and cannot be imported
            raise
        raise ArtifactError(f"the coded symbols cannot be read: {one_line(error)}") from None
