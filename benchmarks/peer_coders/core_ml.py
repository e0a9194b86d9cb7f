"""Palettize weights with Core ML Tools."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from benchmarks.peer_coders.coder import Coded, Point, Weights


class _Matrices(nn.Module):
    """Hold each tensor as a convolution without bias: k-means of a tensor looks at nothing else."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(one.size // len(one), len(one), 1, bias=False).requires_grad_(requires_grad=False)
            for one in weights.values()
        )
        for layer, one in zip(self.layers, weights.values(), strict=True):
            layer.weight.copy_(torch.from_numpy(one.reshape(layer.weight.shape)))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([layer(inputs[:, : layer.in_channels]) for layer in self.layers], dim=1)


def coremltools(weights: Weights, point: Point, folder: Path) -> Coded:
    """Palettize each tensor with k-means, and count the weights of the Core ML package, not its program."""
    import coremltools as ct
    from coremltools.optimize.torch.palettization import PostTrainingPalettizer, PostTrainingPalettizerConfig

    config = PostTrainingPalettizerConfig.from_dict({"global_config": {"granularity": "per_tensor", **point}})
    network = PostTrainingPalettizer(_Matrices(weights).eval(), config).compress(num_kmeans_workers=1)
    widest = max(layer.in_channels for layer in network.layers)
    traced = torch.jit.trace(network.eval(), torch.zeros(1, widest, 1, 1))
    package = ct.convert(
        traced,
        inputs=[ct.TensorType(shape=(1, widest, 1, 1))],
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    package.save(str(folder / "model.mlpackage"))
    size = sum(file.stat().st_size for file in (folder / "model.mlpackage").rglob("weight.bin"))
    found = [layer.weight.detach().numpy() for layer in network.layers]
    return Coded(size, {name: one.reshape(weights[name].shape) for name, one in zip(weights, found, strict=True)})
