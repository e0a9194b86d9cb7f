"""Code the quantized tensors as an NNC bitstream."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import pwfn
from benchmarks.peer_coders.nnc import finest_power
from benchmarks.runtime_cases.measuring import Row, megabytes


def nnc(path: Path, folder: Path) -> Row:
    """Code the quantized tensors as an NNC bitstream in codebook mode, decode it, and compare every bit.

    The codec has one step for a tensor, 2^(qp/4) where 4 divides qp: sums of powers of two are whole multiples of it.
    """
    from nncodec.nnc import compress, decompress

    names = [one["names"][0] for one in pwfn.describe(path)["coded"]]
    state = pwfn.load(path).state_dict()
    weights = {name: state[name].numpy() for name in names}
    finest = finest_power(weights)
    row: Row = {"model.pwfn MB": megabytes(path)}
    for kind, mode in (("codebook", 1), ("uniform", 0)):
        how = {"qp": -4 * finest, "nonweight_qp": -4 * finest, "use_dq": False}
        how |= {"bitstream_path": str(folder / "model.nnc"), "return_bitstream": True}
        began = time.perf_counter()
        bitstream = compress(dict(weights), codebook_mode=mode, **how)
        coded = time.perf_counter()
        decoded = decompress(bitstream)
        done = time.perf_counter()
        came_back = {name: np.asarray(decoded[name], np.float32).reshape(one.shape) for name, one in weights.items()}
        same = sum(np.array_equal(came_back[name], one) for name, one in weights.items())
        row |= {f"{kind}: file MB": len(bitstream) / 1e6, f"{kind}: tensors bit for bit": f"{same} of {len(weights)}"}
        row |= {f"{kind}: s to code": coded - began, f"{kind}: s to decode": done - coded}
    return row
