"""Fill torchao's codebook tensors with the indices of linear layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

import pwfn
from benchmarks.runtime_cases.measuring import Row, Run, compared, packed_network


def torchao(path: Path, folder: Path) -> Row:
    """Fill a CodebookQuantizedTensor with the indices of each linear layer of 8-bit indices."""
    from torchao.prototype.quantization.codebook.codebook_quantized_tensor import CodebookQuantizedTensor

    del folder
    model, layers, wrong = pwfn.load(path), 0, 0
    for name, layer in packed_network(path).named_modules():
        if not isinstance(layer, nn.Linear) or not parametrize.is_parametrized(layer, "weight"):
            continue
        lookup: Any = layer.parametrizations["weight"][0]
        if lookup.bits != 8:
            continue
        table = lookup.table.values[lookup.own.long()].reshape(-1, 1, 1)
        codes, shape = lookup.codes.reshape(lookup.shape).clone(), torch.Size(lookup.shape)
        tensor = CodebookQuantizedTensor(codes, table, (1, 1), torch.ones(1, 1, 1), shape, dtype=torch.float32)
        linear = model.get_submodule(name)
        wrong += not torch.equal(tensor.dequantize(), linear.weight)
        linear.weight = nn.Parameter(tensor, requires_grad=False)
        layers += 1
    if not layers:
        raise ValueError("the network has no linear layer of 8-bit indices")

    def start() -> Run:
        return lambda images: model(images).detach()

    return {"linear layers": layers, "of them with wrong weights": wrong, **compared(path, start, (1, 4))}
