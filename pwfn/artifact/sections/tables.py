"""Share few frequency tables among many contexts: one that another's frequencies suit needs none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pwfn.artifact.sections.coding import NEVER, PRECISION, Ints, Levels, costs, levels_of
from pwfn.artifact.sections.contexts import SYMBOL_BITS, TABLE_BITS

Ids = NDArray[np.uint16]
MOST_TABLES = 1 << 16
NEW_SYMBOL_BITS = PRECISION + SYMBOL_BITS  # about what a symbol costs a table that has not known it


def pool(counts: Sequence[Ints]) -> tuple[Levels, list[Ids]]:
    """Make the tables of all contexts.

    The contexts come largest first, and each joins the table that codes it in the fewest bits, that of the whole
    network to begin with, or founds its own if that is worth its bytes. In the end every table is made of the counts of
    all that joined it.

    Args:
        counts: for each tensor how often each symbol occurs in each context, [contexts, alphabet].

    Returns:
        The levels of the tables, [tables, alphabet], and for each tensor the table of each context.
    """
    rows = np.concatenate(list(counts))
    bits = _table_costs(levels_of(rows.sum(0)))[:, None]
    tables = 1
    ids = np.zeros(len(rows), dtype=np.int64)
    for row in np.argsort(-rows.sum(1), kind="stable"):
        known = np.flatnonzero(rows[row])
        count = rows[row][known]
        shared = count @ bits[known, :tables]
        ids[row] = np.argmin(shared)
        own = _table_costs(levels_of(rows[row]))
        if count @ own[known] + TABLE_BITS + SYMBOL_BITS * len(known) < shared[ids[row]] and tables < MOST_TABLES:
            if tables == bits.shape[1]:
                bits = np.concatenate([bits, np.empty_like(bits)], axis=1)
            bits[:, tables] = own
            ids[row] = tables
            tables += 1
    return _from_members(rows, ids, [len(one) for one in counts])


def _table_costs(levels: Levels) -> NDArray[np.float64]:
    bits = costs(levels)
    return np.where(bits == NEVER, NEW_SYMBOL_BITS, bits)


def _from_members(rows: Ints, ids: Ints, sizes: list[int]) -> tuple[Levels, list[Ids]]:
    """Make the tables that were joined, numbered anew. Contexts without a single weight go to the first."""
    ids = np.where(rows.any(1), ids, ids[np.argmax(rows.sum(1))])
    _, numbers = np.unique(ids, return_inverse=True)
    totals = np.zeros((numbers.max() + 1, rows.shape[1]), dtype=np.int64)
    np.add.at(totals, numbers, rows)
    return levels_of(totals), np.split(numbers.astype(np.uint16), np.cumsum(sizes)[:-1])
