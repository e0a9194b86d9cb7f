"""Build a network with every kind of layer that has weights of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pwfn.bayesian import posterior
from pwfn.bayesian.posterior import set_sigma, to_bayesian
from pwfn.bayesian.prior import ConstantPrior


class Zoo(nn.Module):
    """Every kind of layer that has weights of its own, and then some: grouped, transposed, shared, tied, read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.row = nn.Conv1d(4, 4, 1)
        self.scale = nn.Parameter(torch.full((4,), 0.5))
        self.one = nn.Linear(4, 1)
        self.shared = nn.Linear(4, 4)
        self.again = self.shared
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.shared.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.row(self.norm(self.up(self.conv(x))).flatten(2)).mean(2) * self.scale
        x = self.again(self.shared(x)) + self.tied(x) + x @ self.tied.weight
        return self.one(x)


def zoo() -> Zoo:
    torch.manual_seed(1)
    return Zoo().eval()


X = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(2))
NAMES = ["conv.weight", "conv.bias", "up.weight", "row.weight", "row.bias", "one.weight", "one.bias",
         "shared.weight", "shared.bias", "tied.bias"]  # fmt: skip


def set_sigma_of(model: nn.Module, sigma: float) -> list[posterior.QuantizedTensor]:
    tensors = to_bayesian(model)
    set_sigma(model, ConstantPrior(sigma))
    return tensors
