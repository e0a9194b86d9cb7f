"""Keep a network small in memory: layers look their weights up in one shared table."""

from __future__ import annotations

from pwfn.artifact.packed.load import load_packed, parameters_take_no_memory, restore_buffers
from pwfn.artifact.packed.lookup import Lookup, SharedTable, packed_lookups, resident_bytes

__all__ = [
    "Lookup",
    "SharedTable",
    "load_packed",
    "packed_lookups",
    "parameters_take_no_memory",
    "resident_bytes",
    "restore_buffers",
]
