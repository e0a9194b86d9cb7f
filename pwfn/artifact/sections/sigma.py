"""Code the sigmas of a posterior as sections of bytes, each under the symbol of its weight.

After the last round the members of a cluster mostly share one sigma, so that it costs next to nothing once the weight
is known. Sigmas that few weights share are not coded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from pwfn.artifact.container import ArtifactError, Buffer, inflate
from pwfn.artifact.header import MOST_ENTRIES, Header
from pwfn.artifact.parts import Bits, Book, Parts
from pwfn.artifact.sections.coding import Decoder, Encoder, Symbols, Table, levels_of
from pwfn.artifact.sections.weights import Decoded, deflated, uncompressed


def encode_sigma(parts: Parts) -> tuple[int, dict[str, tuple[Buffer, int]]]:
    """Return how many values the sigmas share, and the sections; a weight without sigma is refused."""
    sigmas = [_bits(one.sigma, one.names[0]) for one in parts.weights]
    alphabet = parts.book.escape + 1
    size = sum(one.size for one in sigmas)
    book = Book.common(sigmas, most=min(MOST_ENTRIES, max(0, size // (2 * alphabet) - 1)))
    counts = np.zeros(alphabet * (book.escape + 1), dtype=np.int64)
    free = []
    for index, bits in enumerate(sigmas):
        symbols = book.symbols(bits)
        counts += np.bincount((parts.symbols(index) * (book.escape + 1) + symbols).ravel(), minlength=len(counts))
        free.append(bits[symbols == book.escape].view(np.float32).astype("<f4").tobytes())
    levels = levels_of(counts.reshape(alphabet, -1))
    tables = {row: Table(levels[row]) for row in np.flatnonzero(levels.any(1)).tolist()}
    encoder = Encoder()
    for index in reversed(range(len(sigmas))):
        symbols = book.symbols(sigmas[index]).ravel()
        for row, where in reversed(list(_by_symbol(parts.symbols(index)))):
            encoder.push(symbols[where], tables[row])
    return book.escape, {
        "sigma_values": uncompressed(book.values.astype("<f4").tobytes()),
        "sigma_tables": deflated(levels.tobytes()),
        "sigma_symbols": uncompressed(encoder.words()),
        "sigma_free": uncompressed(b"".join(free)),
    }


def decode_sigma(
    header: Header, sections: Mapping[str, memoryview], tensors: Iterator[Decoded]
) -> Iterator[tuple[Decoded, NDArray[np.float32]]]:
    """Yield each decoded tensor with its sigmas, of the same shape.

    Args:
        header: of a file with sigmas.
        sections: by name, as stored.
        tensors: decoded, in their order.

    Raises:
        ArtifactError: the sigmas are not sound; at the latest after the last tensor.
    """
    assert header.sigma is not None
    sizes = {section.name: section.size for section in header.sections}
    levels = np.frombuffer(inflate(sections["sigma_tables"], sizes["sigma_tables"], "section sigma_tables"), np.uint8)
    levels = levels.reshape(header.entries + 1, header.sigma + 1)
    tables: dict[int, Table] = {}
    lookup = np.append(np.frombuffer(sections["sigma_values"], dtype="<f4"), np.float32(0))
    free = np.frombuffer(sections["sigma_free"], dtype="<f4")
    decoder = Decoder(sections["sigma_symbols"])
    for tensor in tensors:
        symbols = np.empty(tensor.symbols.size, dtype=np.int32)
        for row, where in _by_symbol(tensor.symbols):
            if row not in tables:
                tables[row] = Table(levels[row])
            symbols[where] = decoder.pop(len(where), tables[row])
        sigma = lookup[symbols]
        missing = symbols == header.sigma
        count = int(np.count_nonzero(missing))
        if count > len(free):
            raise ArtifactError("there are fewer sigmas than weights")
        sigma[missing], free = free[:count], free[count:]
        yield tensor, sigma.reshape(tensor.symbols.shape)
    decoder.finish()
    if len(free):
        raise ArtifactError("there are more sigmas than weights")


def _bits(sigma: NDArray[np.float32] | None, name: str) -> Bits:
    if sigma is None:
        raise ArtifactError(f"{name} has no sigma: only a Bayesian network has")
    return sigma.view(np.int32)


def _by_symbol(symbols: Symbols) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each symbol that occurs, ascending, with the flat positions where it does."""
    flat = symbols.ravel()
    order = np.argsort(flat.astype(np.uint16), kind="stable")
    counts = np.bincount(flat)
    ends = np.cumsum(counts)
    for row in np.flatnonzero(counts).tolist():
        yield row, order[ends[row] - counts[row] : ends[row]]
