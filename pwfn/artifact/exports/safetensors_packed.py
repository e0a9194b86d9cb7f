"""Write a state dict as safetensors, its weights as indices into one codebook, for any language.

`pwfn.codebook` float32 [entries] holds the shared values. A packed tensor NAME is two: `NAME.own` int32, which of the
shared values it uses, and `NAME.codes`, an index into those for each weight in C order: uint8 for 8 bits; two of 4 or
four of 2 bits in a byte, the first in the lowest bits; int16 or int32 above. The metadata's `pwfn.packed` is JSON:
shape and bits of each packed tensor, by name. All other tensors are there unchanged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pwfn.artifact.exports.exported import ExportError, metadata
from pwfn.artifact.header import Codebook
from pwfn.artifact.packed import Lookup, SharedTable
from pwfn.artifact.packed.load import SMALLEST
from pwfn.artifact.parts import Book

CODEBOOK, PACKED = "pwfn.codebook", "pwfn.packed"


def to_packed_safetensors(model: nn.Module, path: Path, description: dict[str, Any]) -> str:
    """Write the packed layout, read it again, and compare every tensor bit for bit.

    Args:
        model: the network, on the CPU and in evaluation mode.
        path: the file to write.
        description: of the artifact, as `pwfn.describe` returns it.

    Returns:
        A clause on what was written and how it was checked.

    Raises:
        ExportError: a tensor came back changed.
    """
    from safetensors.torch import save_file

    book = Book(Codebook.model_validate_json(json.dumps(description["codebook"])).values())
    table = SharedTable(torch.from_numpy(book.values))
    tensors, packed = {CODEBOOK: table.values}, {}
    coded = {name for one in description["coded"] for name in one["names"]}
    state = model.state_dict()
    for name, value in state.items():
        symbols = book.symbols(value.numpy().view(np.int32)) if name in coded and value.numel() >= SMALLEST else None
        if symbols is None or (symbols == book.escape).any():
            tensors[name] = value.contiguous().clone()
            continue
        lookup = Lookup.of(table, symbols.astype(np.uint16))
        tensors |= {f"{name}.codes": lookup.codes, f"{name}.own": lookup.own}
        packed[name] = {"shape": list(value.shape), "bits": lookup.bits}
    save_file(tensors, path, metadata={"format": "pt", PACKED: json.dumps(packed), **metadata(description)})
    again = unpacked(path)
    wrong = [key for key in state if again[key].numpy().tobytes() != state[key].numpy().tobytes()]
    if wrong or again.keys() != state.keys():
        raise ExportError(f"{len(wrong)} of {len(state)} tensors came back changed")
    return f"{len(packed)} of {len(state)} tensors packed, read again without a bit of difference"


def unpacked(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a packed file, with float32 weights."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        packed = json.loads(file.metadata()[PACKED])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    table = SharedTable(tensors.pop(CODEBOOK))
    for name, one in packed.items():
        codes, own = tensors.pop(f"{name}.codes"), tensors.pop(f"{name}.own")
        tensors[name] = Lookup(table, codes, own, tuple(one["shape"]), one["bits"])(torch.empty(0))
    return tensors
