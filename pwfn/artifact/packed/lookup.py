"""Keep weights as indices of 8, 4 or 2 bits into the table that all layers share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

CHUNK = 1 << 18  # bytes that are looked up at once: beside the weights that come out, only their indices take memory
WIDE = {16: torch.int16, 32: torch.int32}  # for tensors of more than 256 values

WHOLE_ROW = {2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}  # by bytes; only copied, as bits


class SharedTable(nn.Module):
    """Hold the codebook of a network, float32 [entries].

    One instance is part of every layer that looks weights up.
    """

    values: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values)


class Lookup(nn.Module):
    """Look up a tensor of weights: `codes` index its own values, `own` says which of the shared these are.

    A byte of `codes` holds one index of 8 bits, two of 4 or four of 2, the first in the lowest bits. Tensors of more
    than 256 values have an int16 or int32 index for each weight.

    Args:
        table: the values of the network.
        codes: uint8, int16 or int32 [bytes, or weights where `bits` is above 8].
        own: int32 [values of this tensor], indices into `table`.
        shape: of the tensor that `forward` returns.
        bits: of one index: 2, 4, 8, 16 or 32.
    """

    codes: Tensor
    own: Tensor

    def __init__(self, table: SharedTable, codes: Tensor, own: Tensor, shape: tuple[int, ...], bits: int) -> None:
        super().__init__()
        self.table = table
        self.shape, self.bits = shape, bits
        self.register_buffer("codes", codes)
        self.register_buffer("own", own)

    @classmethod
    def of(cls, table: SharedTable, symbols: NDArray[np.uint8] | NDArray[np.uint16]) -> Lookup:
        """Pack the codebook indices of one tensor, in the tensor's shape; each must be an entry of `table`."""
        flat, entries = symbols.reshape(-1), len(table.values)
        counts = np.zeros(entries, dtype=np.int64)
        for start in range(0, len(flat), CHUNK):  # bincount widens its argument to int64
            counts += np.bincount(flat[start : start + CHUNK], minlength=entries)
        used = np.flatnonzero(counts)
        bits = next(width for width in (2, 4, 8, 16, 32) if len(used) <= 1 << min(width, 15 if width == 16 else 31))
        renumbered = np.zeros(entries, dtype=np.uint8 if bits <= 8 else np.int32)
        renumbered[used] = np.arange(len(used))
        codes = torch.from_numpy(_packed(renumbered, flat, bits))
        own = torch.from_numpy(used.astype(np.int32))
        return cls(table, codes.to(WIDE[bits]) if bits > 8 else codes, own, tuple(symbols.shape), bits)

    def forward(self, _: Tensor) -> Tensor:
        """Return the weights in their shape; the argument, which a parametrization is given, holds nothing."""
        groups = self._groups()
        if torch.compiler.is_compiling():  # there a single gather, which needs no memory for its indices
            found = groups.index_select(0, self.codes.int())
        else:
            found = groups.new_empty(len(self.codes), groups.shape[1])
            _gather(groups, self.codes, found)
        return found.reshape(-1)[: math.prod(self.shape)].reshape(self.shape)

    def _groups(self) -> Tensor:
        """Return what each byte stands for: [values of a byte, weights in a byte]."""
        values = self.table.values.index_select(0, self.own)
        if self.bits >= 8:
            return values[:, None]
        count, weights = 1 << self.bits, 8 // self.bits
        values = nn.functional.pad(values, (0, count - len(values)))
        return torch.stack(
            [values.repeat_interleave(count**i).repeat(count ** (weights - 1 - i)) for i in range(weights)], dim=1
        )

    def extra_repr(self) -> str:
        """Say what `print(model)` shows of this tensor."""
        return f"shape={list(self.shape)}, values={len(self.own)}, bits={self.bits}"


def _gather(groups: Tensor, codes: Tensor, out: Tensor) -> None:
    """Write row `codes[i]` of `groups` to row i of `out`, a chunk at a time: only its indices are widened."""
    whole = WHOLE_ROW.get(groups.shape[1] * groups.element_size())
    if whole is not None:  # torch gathers single elements several times faster than rows
        groups, out = groups.view(whole)[:, 0], out.view(whole)[:, 0]
    for start in range(0, len(codes), CHUNK):
        torch.index_select(groups, 0, codes[start : start + CHUNK].int(), out=out[start : start + CHUNK])


def _packed(renumbered: NDArray[Any], symbols: NDArray[np.uint8] | NDArray[np.uint16], bits: int) -> NDArray[Any]:
    """Pack codes of less than 8 bits into bytes, a chunk at a time, as numpy widens what it indexes by."""
    weights = max(1, 8 // bits)
    packed = np.zeros(-(-len(symbols) // weights), dtype=renumbered.dtype)
    for start in range(0, len(symbols), CHUNK):
        some = symbols[start : start + CHUNK]
        for place in range(weights):
            codes = renumbered[some[place::weights]]
            first = start // weights
            packed[first : first + len(codes)] |= codes << np.uint8(place * bits if weights > 1 else 0)
    return packed


def attach(module: nn.Module, name: str, lookup: Lookup) -> None:
    """Replace a parameter by what looks its weights up.

    Args:
        module: the module that has the parameter.
        name: its name there.
        lookup: gives its weights; tied parameters are given the same one.
    """
    delattr(module, name)
    module.register_buffer(name, lookup.table.values.new_empty(0))  # a parametrization must have a tensor to begin with
    parametrize.register_parametrization(module, name, lookup, unsafe=True)


def packed_lookups(model: nn.Module) -> Iterator[Lookup]:
    """Yield every packed tensor of `model` once."""
    return (module for module in model.modules() if isinstance(module, Lookup))


def resident_bytes(model: nn.Module) -> int:
    """Return the bytes that parameters and buffers hold, shared ones counted once."""
    held = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in (*model.parameters(), *model.buffers())
    }
    return sum(held.values())
