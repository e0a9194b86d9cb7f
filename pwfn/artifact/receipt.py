"""What a network weighs, written down in five ways: the receipt of a compression."""

from __future__ import annotations

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
    of all weights together for each. Free weights cost 32 bits more in both. `zip` is the float network deflated at
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
            "entropy bound of the whole network": self.entropy_bound,
            "model.pwfn": self.file,
        }
        for name, size in rows.items():
            if size is not None:
                table.add_row(name, f"{size / 1e6:.3f}", f"1/{self.float32 / size:.1f}")
        return table


def make_receipt(counts: NDArray[np.int64], *, rest: int, coded: int, zipped: int | None) -> Receipt:
    """The receipt of a network whose symbols occur `counts` [entries + 1] times, the last one standing for free weights.

    `rest` are the bytes of everything that is not a weight, `coded` those that the file spends on weights.
    """
    weights, free, entries = int(counts.sum()), int(counts[-1]), len(counts) - 1
    used = counts[counts > 0]
    entropy = float((used * (np.log2(weights) - np.log2(used))).sum() / weights)
    symbols = entries + (free > 0)
    width = max(symbols - 1, 0).bit_length()
    return Receipt(
        weights=weights,
        codebook=entries,
        free=free,
        float32=4 * weights + rest,
        fixed_width=-(-width * weights // 8) + 4 * entries + 4 * free + rest,
        entropy_bound=int(np.ceil(entropy * weights / 8)) + 4 * free + rest,
        file=None,
        zip=zipped,
        entropy_bits=entropy,
        file_bits=8 * coded / weights,
    )


def zipped_bytes(pieces: Iterable[memoryview]) -> int:
    """What zip makes of the bytes; a piece at a time, so that memory stays small. About 4 seconds for 100 MB."""
    engine = zlib.compressobj(ZIP_LEVEL)
    total = 0
    for piece in pieces:
        for start in range(0, len(piece), PIECE):
            total += len(engine.compress(piece[start : start + PIECE]))
    return total + len(engine.flush())
