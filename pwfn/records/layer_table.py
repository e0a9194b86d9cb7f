"""Make the rows of layers.csv: values, bits, sigmas and displacement of each quantized tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.clustering.chunking import in_one_thread
from pwfn.clustering.statistics import entropy_bits, value_counts
from pwfn.records.columns import Column, by_key

LAYER_COLUMNS = by_key(
    Column("name", "the tensor, as in the plain model's state dict", "text", str),
    Column("what", "its kind", "text", str),
    Column("weights", "its elements", "weights", int),
    Column("unique", "distinct values of its weights", "values", int),
    Column("entropy_bits", "entropy of its own values", "bits/weight"),
    Column("zero_share", "its weights that are exactly 0", "share"),
    Column("sigma_mean", "mean sigma of its weights", "weight units"),
    Column("l2", "Euclidean norm of its move over that of its starting weights; nan if these are all 0", "share"),
)


@in_one_thread()
def layer_rows(network: nn.Module, before: Tensor, kinds: Mapping[str, str]) -> list[dict[str, str | int | float]]:
    """Make a row for each quantized tensor, in the network's order.

    Args:
        network: a Bayesian network.
        before: the quantized means before the first round, flat, one tensor after the other, on the CPU.
        kinds: of each tensor by its name, as `pwfn.bayesian.coverage` has them.

    Returns:
        Rows with the keys of `LAYER_COLUMNS`.
    """
    tensors = quantized_tensors(network)
    rows = []
    for tensor, start in zip(tensors, before.split([t.mu.numel() for t in tensors]), strict=True):
        now = tensor.mu.detach().flatten().cpu()
        values, counts = value_counts(now)
        length = torch.linalg.vector_norm(start, dtype=torch.float64).item()
        way = torch.linalg.vector_norm(now - start, dtype=torch.float64).item()
        row = (
            tensor.name,
            kinds[tensor.name],
            now.numel(),
            values.numel(),
            entropy_bits(counts),
            int(counts[values == 0].sum()) / now.numel(),
            tensor.gaussian.effective_sigma.mean(dtype=torch.float64).item(),
            way / length if length else math.nan,
        )
        rows.append(dict(zip(LAYER_COLUMNS, row, strict=True)))
    return rows
