"""Draw weights in torch's operations, with their gradients: for any device, type and regularizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from pwfn.bayesian.kernels.interface import Drawn, Gaussian, Kernels
from pwfn.bayesian.kernels.noise import standard_normal
from pwfn.bayesian.prior import MIN_SIGMA


class Reference(Kernels):
    """Compute as every other implementation is compared with."""

    @override
    def supports(self, tensors: Sequence[Tensor]) -> bool:
        return True

    @override
    def weights_together(self, weights: int) -> int:
        return 1 << 20

    def noise(self, gaussians: Sequence[Gaussian], key: int) -> list[Tensor]:
        """Compute eps for each tensor, contiguous."""
        return standard_normal([g.mu for g in gaussians], [g.number for g in gaussians], key)

    @override
    def draw(self, gaussians: Sequence[Gaussian], key: int) -> Drawn:
        weights, penalties = [], []
        for one, eps in zip(gaussians, self.noise(gaussians, key), strict=True):
            weights.append(torch.addcmul(one.mu, one.sigma.clamp(min=MIN_SIGMA), eps))
            penalties.append(one.regularizer.penalty(one.sigma, eps, one.free_mu))
        return weights, torch.stack(penalties).sum()

    @override
    def sigma_gradients(
        self, gaussians: Sequence[Gaussian], grads: Sequence[Tensor], scale: Tensor | None, key: int
    ) -> list[Tensor]:
        made = []
        for one, grad, eps in zip(gaussians, grads, self.noise(gaussians, key), strict=True):
            data = (grad * eps).masked_fill_(one.sigma < MIN_SIGMA, 0)
            gradient = data if one.free_sigma is None else data * one.free_sigma.view(torch.int8)
            if scale is not None:
                pull = one.regularizer.gradient(one.sigma, eps, one.free_mu, data / scale)
                gradient = torch.addcmul(gradient, pull, scale)
            made.append(gradient)
        return made

    @override
    def keep_free(self, tensors: Sequence[tuple[Tensor, Tensor]]) -> None:
        for total, free in tensors:
            total.mul_(free.view(torch.int8))  # as numbers, three times faster than as bools

    @override
    def add_masked(self, tensors: Sequence[tuple[Tensor, Tensor, Tensor]], factor: float | Tensor) -> None:
        for total, values, free in tensors:
            if isinstance(factor, Tensor):
                total.addcmul_(values * factor.to(values.dtype), free.view(torch.int8))
            else:
                total.addcmul_(values, free.view(torch.int8), value=factor)
