"""Code weights with NNC (ISO/IEC 15938-17)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.peer_coders.coder import Coded, Point, Weights


def nncodec(weights: Weights, point: Point, folder: Path) -> Coded:
    """Quantize and code with NNC (ISO/IEC 15938-17); dependent quantization is on, which is its default."""
    from nncodec.nnc import compress, decompress

    how = {"bitstream_path": str(folder / "model.nnc"), "return_bitstream": True, **point}
    stream = compress(dict(weights), **how)
    decoded = decompress(stream)
    return Coded(len(stream), {name: np.asarray(decoded[name], np.float32) for name in weights})


def finest_power(weights: Weights) -> int:
    """Return the least n for which all weights are multiples of 2^-n."""
    values = np.unique(np.concatenate([one.ravel() for one in weights.values()])).astype(np.float64)
    power = next((power for power in range(32) if not np.any(values * 2.0**power % 1)), None)
    if power is None:
        raise ValueError("the shared values are no multiples of a power of two")
    return power


def nncodec_integers(weights: Weights, point: Point, folder: Path) -> Coded:
    """Code clustered weights without rounding, as multiples of the finest power of two or as ranks.

    Ranks are the places among the values of a tensor, counted from zero. They are the kinder form: the tables from
    ranks to values that a decoder would need are not counted.
    """
    if point["integers"] == "ranks":
        tables = {name: np.unique(one) for name, one in weights.items()}
        zeros = {name: int(np.searchsorted(table, 0)) for name, table in tables.items()}
        ranks = {name: (np.searchsorted(tables[name], one) - zeros[name]) for name, one in weights.items()}
        power, values = 0, {name: one.astype(np.float32) for name, one in ranks.items()}
    else:
        power, values = finest_power(weights), weights
    step = {"qp": -4 * power, "nonweight_qp": -4 * power, "use_dq": False}
    step["codebook_mode"] = int(point["integers"] == "codebook")
    coded = nncodec(values, step, folder)
    if point["integers"] != "ranks":
        return coded
    back = {name: np.rint(one).astype(np.int64) + zeros[name] for name, one in coded.weights.items()}
    return Coded(coded.size, {name: tables[name][index] for name, index in back.items()})
