"""What a network weighs, written down in several ways: the receipt of a compression."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

ZIP_LEVEL = 6
PIECE = 1 << 20  # bytes that are handed to zlib at once


@dataclass(frozen=True)
class Receipt:
    """Bytes of one whole network (weights and everything else) in different forms; `file` is the artifact (None inside it).

    `fixed_width` stores each weight's index in ceil(log2 K) bits, with the codebook; `entropy_bound` takes the entropy
    of all weights together for each. `tensor_fixed_width` and `tensor_entropy_bound` are the same where every tensor has
    a codebook and an entropy of its own (None in files that are older than they). Free weights cost 32 bits more in all
    of them. `zip` is the float network deflated at
    level 6, or None where that was not worked out. `entropy_bits` and `file_bits` are per weight; the latter counts all
    that the file spends on weights.
    """

    weights: int
    codebook: int
    free: int
    float32: int
    fixed_width: int
    entropy_bound: int
    file: int | None
    zip: int | None
    entropy_bits: float
    file_bits: float
    tensor_fixed_width: int | None = None
    tensor_entropy_bound: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> Table:
        """For the console."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("the whole network as", no_wrap=True)
        for heading in ("MB", "of float32"):
            table.add_column(heading, justify="right", no_wrap=True)
        rows = {
            "float32": self.float32,
            "float32, zipped": self.zip,
            "codebook and indices of fixed width": self.fixed_width,
            "a codebook for each tensor, fixed width": self.tensor_fixed_width,
            "entropy bound of the whole network": self.entropy_bound,
            "entropy bound tensor by tensor": self.tensor_entropy_bound,
            "model.pwfn": self.file,
        }
        for name, size in rows.items():
            if size is not None:
                table.add_row(name, f"{size / 1e6:.3f}", f"1/{self.float32 / size:.1f}")
        return table


def make_receipt(counts: NDArray[np.int64], *, rest: int, coded: int, zipped: int | None) -> Receipt:
    """The receipt of a network in whose tensors the symbols occur `counts` [tensors, entries + 1] times.

    The last symbol stands for free weights. `rest` are the bytes of everything that is not a weight, `coded` those that
    the file spends on weights.
    """
    total = counts.sum(0)
    weights, free = int(total.sum()), int(total[-1])
    beside = 4 * free + rest
    entropy = _bits(total) / weights
    return Receipt(
        weights=weights,
        codebook=len(total) - 1,
        free=free,
        float32=4 * weights + rest,
        fixed_width=_fixed_width(total) + beside,
        entropy_bound=math.ceil(entropy * weights / 8) + beside,
        file=None,
        zip=zipped,
        entropy_bits=entropy,
        file_bits=8 * coded / weights,
        tensor_fixed_width=sum(_fixed_width(own_counts(row)) for row in counts) + beside,
        tensor_entropy_bound=math.ceil(sum(_bits(row) for row in counts) / 8) + beside,
    )


def index_bits(counts: NDArray[np.int64]) -> int:
    """Bits of an index of fixed width, for symbols that occur `counts` [entries + 1] times; a last one that does not
    occur needs no index."""
    return max(len(counts) - int(counts[-1] == 0) - 1, 0).bit_length()


def _fixed_width(counts: NDArray[np.int64]) -> int:
    """Bytes of indices of fixed width, and of the codebook."""
    return -(-index_bits(counts) * int(counts.sum()) // 8) + 4 * (len(counts) - 1)


def own_counts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Without the entries that do not occur."""
    return np.append(counts[:-1][counts[:-1] > 0], counts[-1])


def _bits(counts: NDArray[np.int64]) -> float:
    """The entropy of all symbols together."""
    used = counts[counts > 0]
    return float((used * (np.log2(used.sum()) - np.log2(used))).sum())


def zipped_bytes(pieces: Iterable[memoryview]) -> int:
    """What zip makes of the bytes; a piece at a time, so that memory stays small. About 4 seconds for 100 MB."""
    engine = zlib.compressobj(ZIP_LEVEL)
    total = 0
    for piece in pieces:
        for start in range(0, len(piece), PIECE):
            total += len(engine.compress(piece[start : start + PIECE]))
    return total + len(engine.flush())
