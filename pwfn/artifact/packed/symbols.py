"""Decode an artifact tensor by tensor into indices, without ever holding a tensor's float weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pwfn.artifact.container import ArtifactError, inflate
from pwfn.artifact.header import Coded, Header, Shape3, view_shape
from pwfn.artifact.sections.coding import Decoder
from pwfn.artifact.sections.contexts import Classes
from pwfn.artifact.sections.tables import Ids
from pwfn.artifact.sections.weights import Tables, read_context

CHUNK = 1 << 16  # weights that are decoded, or looked up for the checksum, at once

Small = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Indexed:
    """Hold a tensor that was decoded into indices.

    Attributes:
        coded: its names, shape and classes.
        symbols: indices into the codebook, in its shape; the number of entries means free.
        free: the values of its free weights, in their order.
    """

    coded: Coded
    symbols: Small
    free: NDArray[np.float32]


def decode_symbols(header: Header, sections: dict[str, memoryview]) -> Iterator[Indexed]:
    """Yield the tensors in their order; `sections` is emptied once the coder has its words.

    Raises:
        ArtifactError: for anything that is wrong, at the latest after the last tensor.
    """
    sizes = {section.name: section.size for section in header.sections}
    contexts = memoryview(inflate(sections["contexts"], sizes["contexts"], "section contexts"))
    levels = np.frombuffer(inflate(sections["tables"], sizes["tables"], "section tables"), dtype=np.uint8)
    tables = Tables(levels.reshape(header.tables, header.entries + 1))
    lookup = np.append(header.codebook.values(), np.float32(0))
    free = np.frombuffer(bytes(sections["free"]), dtype="<f4")
    decoder = Decoder(sections["symbols"])
    sections.clear()
    digest = hashlib.sha256()
    dtype = np.dtype(np.uint8 if header.entries <= 255 else np.uint16)
    for coded in header.coded:
        classes, ids, contexts = read_context(coded, contexts)
        symbols = _decode(decoder, tables, classes, ids, view_shape(coded.shape), dtype).reshape(coded.shape)
        own, free = free[: coded.free], free[coded.free :]
        for values in _values(symbols.reshape(-1), own, lookup, coded):
            digest.update(values.astype("<f4", copy=False).data)
        tensor = Indexed(coded, symbols, own)
        del symbols
        yield tensor
        del tensor
    decoder.finish()
    if digest.hexdigest() != header.weights_sha256:
        raise ArtifactError("the decoded weights are not those that were written: their checksum is wrong")


def _decode(
    decoder: Decoder, tables: Tables, classes: Classes, ids: Ids, shape: Shape3, dtype: np.dtype[np.generic]
) -> Small:
    by_class = np.empty(shape, dtype=dtype)
    for block, number in zip(classes.blocks(), ids.tolist(), strict=True):
        context, table = by_class[block], tables[number]
        if not context.size:
            continue
        rows = max(1, CHUNK // (context.shape[1] * context.shape[2]))
        for first in range(0, len(context), rows):
            some = context[first : first + rows]
            some[...] = decoder.pop(some.size, table).reshape(some.shape)
    return classes.unsort(by_class)  # type: ignore[return-value]  # of the same integers


def _values(
    symbols: Small, free: NDArray[np.float32], lookup: NDArray[np.float32], coded: Coded
) -> Iterator[NDArray[np.float32]]:
    """Yield the float weights of a tensor, some at a time."""
    entries, used = len(lookup) - 1, 0
    for start in range(0, len(symbols), CHUNK):
        some = symbols[start : start + CHUNK]
        values = lookup[some]
        missing = some == entries
        count = int(np.count_nonzero(missing))
        if used + count > coded.free:
            break
        values[missing] = free[used : used + count]
        used += count
        yield values
    if used != coded.free or np.count_nonzero(symbols == entries) != coded.free:
        raise ArtifactError(f"{coded.names[0]} has not the {coded.free} free weights the header announces")


def float_weights(tensor: Indexed, codebook: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return all weights of one tensor as float32, in its shape."""
    lookup = np.append(codebook, np.float32(0))
    return np.concatenate(
        [np.empty(0, np.float32), *_values(tensor.symbols.reshape(-1), tensor.free, lookup, tensor.coded)]
    ).reshape(tensor.coded.shape)
