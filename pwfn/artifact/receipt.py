"""Count the bytes of a network in several forms: the receipt of a compression."""

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
    """Hold the sizes of one whole network, in bytes.

    Free weights cost 32 bits more in each form.

    Attributes:
        weights: how many are coded.
        codebook: how many entries there are.
        free: how many weights are in none of them.
        float32: the size of the state dict.
        fixed_width: each weight as an index of ceil(log2 K) bits, and the codebook.
        entropy_bound: each weight at the entropy of all weights together, and the codebook.
        file: the artifact; None inside it.
        zip: the float network deflated at level 6; None where that was not worked out.
        entropy_bits: entropy of all weights together, in bits per weight.
        file_bits: all that the file spends on weights, in bits per weight.
        tensor_fixed_width: as `fixed_width`, where every tensor has a codebook of its own; None in older files.
        tensor_entropy_bound: as `entropy_bound`, where every tensor has an entropy of its own; None in older files.
        plain: what the file, `fixed_width` and the bounds spend on tensors that are not coded: norms, biases,
            BatchNorm's statistics, and weights that were left out; None in older files.
        plain_change: largest relative change of their values, or of scale and shift of a folded BatchNorm; None inside
            the file, and where all is exact.
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
    plain: int | None = None
    plain_change: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return all sizes by name."""
        return asdict(self)

    def table(self) -> Table:
        """Format the sizes for the console."""
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
            "  of it norms, biases and what else is not coded": self.plain if self.file is not None else None,
        }
        for name, size in rows.items():
            if size:
                table.add_row(name, f"{size / 1e6:.3f}", f"1/{self.float32 / size:.1f}")
        return table


def make_receipt(
    counts: NDArray[np.int64], *, rest: int, coded: int, zipped: int | None, plain: int | None = None
) -> Receipt:
    """Work out the sizes of a network.

    Args:
        counts: how often each symbol occurs, [tensors, entries + 1]; the last one stands for free weights.
        rest: bytes of everything that is not a coded weight, in the network.
        coded: bytes that the file spends on weights.
        zipped: bytes of the float network when zipped, or None.
        plain: bytes of `rest` in the file; None where they are the same.

    Returns:
        The receipt; `file` is None, as the file is not written yet.
    """
    total = counts.sum(0)
    weights, free = int(total.sum()), int(total[-1])
    plain = rest if plain is None else plain
    beside = 4 * free + plain
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
        plain=plain,
    )


def index_bits(counts: NDArray[np.int64]) -> int:
    """Count the bits of an index of fixed width.

    `counts` [entries + 1] says how often each symbol occurs; a last one that does not occur needs no index.
    """
    return max(len(counts) - int(counts[-1] == 0) - 1, 0).bit_length()


def _fixed_width(counts: NDArray[np.int64]) -> int:
    """Count the bytes of indices of fixed width, and of the codebook."""
    return -(-index_bits(counts) * int(counts.sum()) // 8) + 4 * (len(counts) - 1)


def own_counts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Leave out the entries that do not occur; the last symbol stays."""
    return np.append(counts[:-1][counts[:-1] > 0], counts[-1])


def _bits(counts: NDArray[np.int64]) -> float:
    """Compute the entropy of all symbols together, in bits."""
    used = counts[counts > 0]
    return float((used * (np.log2(used.sum()) - np.log2(used))).sum())


def zipped_bytes(pieces: Iterable[memoryview]) -> int:
    """Count the bytes that zip makes of the pieces, in little memory; about 4 seconds for 100 MB."""
    engine = zlib.compressobj(ZIP_LEVEL)
    total = 0
    for piece in pieces:
        for start in range(0, len(piece), PIECE):
            total += len(engine.compress(piece[start : start + PIECE]))
    return total + len(engine.flush())
