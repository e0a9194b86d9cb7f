"""Keep an ONNX model small: its weights become indices of 8, 4 or 2 bits into one shared codebook.

Standard operators alone: `Cast` widens the indices, `Gather` looks them up, and the layer takes the result in place of
its float weights. UINT4 needs opset 21, UINT2 opset 25.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pwfn.artifact.parts import Book

if TYPE_CHECKING:
    import onnx

OPSET = 25
IR_VERSION = 13  # the first that has UINT2
CODEBOOK = "pwfn_codebook"
SMALLEST = 1024  # weights: a smaller tensor stays as it is
NAMES = {2: "UINT2", 4: "UINT4", 8: "UINT8", 16: "UINT16"}


@dataclass(frozen=True)
class Packed:
    """Count the initializers that were packed.

    Attributes:
        tensors: how many they are.
        weights: how many elements they have together.
        bits: the widest index, in bits.
    """

    tensors: int
    weights: int
    bits: int


def pack(model: onnx.ModelProto, codebook: NDArray[np.float32]) -> Packed:
    """Replace, in place, every float32 initializer whose values are all in `codebook`.

    Args:
        model: with its weights as initializers and not folded into anything else.
        codebook: float32 [entries], ascending.

    Returns:
        What was packed; an initializer with values of its own, or of fewer than 1,024 elements, stays as it is.
    """
    from onnx import numpy_helper

    book = Book(codebook)
    kept, nodes, packed = [], [], []
    for initializer in model.graph.initializer:
        symbols = _symbols(initializer, book)
        if symbols is None:
            kept.append(initializer)
            continue
        tensors, own_nodes, bits = _lookup(initializer.name, symbols, book.escape)
        kept += tensors
        nodes += own_nodes
        packed.append((symbols.size, bits))
    if packed:
        kept.append(numpy_helper.from_array(book.values, CODEBOOK))
    nodes += list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    model.ir_version = max(model.ir_version, IR_VERSION)
    sizes = [size for size, _ in packed]
    return Packed(len(packed), sum(sizes), max((bits for _, bits in packed), default=0))


def _symbols(initializer: onnx.TensorProto, book: Book) -> NDArray[np.int32] | None:
    """Return the codebook index of every weight, or None for a tensor that is not packed."""
    from onnx import TensorProto, numpy_helper

    if initializer.data_type != TensorProto.FLOAT or np.prod(initializer.dims, dtype=np.int64) < SMALLEST:
        return None
    values = np.ascontiguousarray(numpy_helper.to_array(initializer))
    symbols = book.symbols(values.view(np.int32))
    return None if (symbols == book.escape).any() else symbols


def _lookup(name: str, symbols: NDArray[np.int32], entries: int) -> tuple[list[Any], list[Any], int]:
    """Make the initializers and nodes that give the weights `name`, and the bits of an index."""
    from onnx import TensorProto, helper, numpy_helper

    used = np.flatnonzero(np.bincount(symbols.reshape(-1), minlength=entries))
    bits = next(width for width in NAMES if len(used) <= 1 << width)
    table, codes, tensors, nodes = CODEBOOK, symbols, [], []
    if entries > 1 << bits:  # the tensor's own values, since its indices do not reach all that are shared
        table, own = f"{name}_values", f"{name}_own"
        renumbered = np.zeros(entries, dtype=np.int32)
        renumbered[used] = np.arange(len(used))
        codes = renumbered[symbols]
        tensors.append(numpy_helper.from_array(used.astype(np.int32), own))
        nodes.append(helper.make_node("Gather", [CODEBOOK, own], [table], axis=0))
    kind = getattr(TensorProto, NAMES[bits])
    tensors.append(helper.make_tensor(f"{name}_codes", kind, symbols.shape, _bytes(codes.reshape(-1), bits), raw=True))
    nodes.append(helper.make_node("Cast", [f"{name}_codes"], [f"{name}_indices"], to=TensorProto.INT32))
    nodes.append(helper.make_node("Gather", [table, f"{name}_indices"], [name], axis=0))
    return tensors, nodes, bits


def _bytes(codes: NDArray[np.int32], bits: int) -> bytes:
    """Pack codes as ONNX stores them: little endian, below 8 bits the first in the lowest bits of a byte."""
    if bits >= 8:
        return codes.astype(f"<u{bits // 8}").tobytes()
    weights = 8 // bits
    padded = np.zeros(-(-len(codes) // weights) * weights, dtype=np.uint8)
    padded[: len(codes)] = codes
    shifts = np.arange(weights, dtype=np.uint8) * np.uint8(bits)
    packed: NDArray[np.uint8] = np.bitwise_or.reduce(padded.reshape(-1, weights) << shifts, axis=1)
    return packed.tobytes()
