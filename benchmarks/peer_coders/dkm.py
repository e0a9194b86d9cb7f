"""Train a network whose weights are clustered by Core ML Tools' differentiable k-means (DKM)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from benchmarks.peer_coders.coder import Point, Trained

EPOCHS, RATE = 2, 0.01  # as long as the finishing of the study's runs, and its learning rate


def dkm(network: nn.Module, batches: DataLoader[Any], names: list[str], point: Point) -> Trained:
    """Train a copy of `network`; count indices of fixed width and a float32 table for each tensor.

    Core ML's file of an undisturbed layer takes as much. A tensor that DKM leaves as it is counts 32 bits a weight.
    """
    from coremltools.optimize.torch.palettization import DKMPalettizer, DKMPalettizerConfig

    everywhere = {"granularity": "per_tensor", "cluster_dim": 1, "weight_threshold": 0, **point}
    config = DKMPalettizerConfig.from_dict({"global_config": everywhere})
    palettizer = DKMPalettizer(copy.deepcopy(network), config)
    training = palettizer.prepare()
    training.train()
    optimizer = torch.optim.SGD(training.parameters(), RATE, momentum=0.9, nesterov=True)
    torch.manual_seed(0)  # of dropout
    for epoch in range(EPOCHS):
        batches.sampler.set_epoch(epoch)  # another order, another augmentation
        for images, labels, *_ in batches:
            optimizer.zero_grad()
            cross_entropy(training(images), labels).backward()
            optimizer.step()
            palettizer.step()
    made = palettizer.finalize().eval()
    state = made.state_dict()
    return Trained(sum(_bytes(state[name], point["n_bits"]) for name in names), made)


def _bytes(weight: torch.Tensor, bits: int) -> float:
    values = weight.unique().numel()
    return weight.numel() * bits / 8 + 4 * 2**bits if values <= 2**bits else 4 * weight.numel()
