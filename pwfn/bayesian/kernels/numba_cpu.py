"""Draw float32 weights on a CPU, with their gradients, in one compiled pass over each tensor.

One thread computes. Torch's threads go on spinning for milliseconds after each of its operations, and further ones
would wait for their cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from pwfn.bayesian.kernels import numba_compiled
from pwfn.bayesian.kernels.interface import Drawn, Gaussian
from pwfn.bayesian.kernels.reference import Reference


class NumbaCPU(Reference):
    """Compute with float32 weights on a CPU; the reference does regularizers without a `linear` form."""

    @override
    def supports(self, tensors: Sequence[Tensor]) -> bool:
        return all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)

    @override
    def noise(self, gaussians: Sequence[Gaussian], key: int) -> list[Tensor]:
        made = [_empty_like(one.mu) for one in gaussians]
        for one, eps in zip(gaussians, made, strict=True):
            numba_compiled.fill_noise(_flat(eps), np.uint64(key), one.number)
        return made

    @override
    def draw(self, gaussians: Sequence[Gaussian], key: int) -> Drawn:
        if any(one.regularizer.linear is None for one in gaussians):
            return super().draw(gaussians, key)
        weights, penalty = [], 0.0
        for one in gaussians:
            strength, ceiling = one.regularizer.linear or (0.0, 0.0)
            weight = _empty_like(one.mu)
            arrays = _flat(weight), _flat(one.mu), _flat(one.sigma), _mask(one.free_mu)
            penalty += strength / 2 * numba_compiled.draw(*arrays, np.float32(ceiling), np.uint64(key), one.number)
            weights.append(weight)
        return weights, weights[0].new_tensor(penalty)

    @override
    def sigma_gradients(
        self, gaussians: Sequence[Gaussian], grads: Sequence[Tensor], scale: Tensor | None, key: int
    ) -> list[Tensor]:
        if any(one.regularizer.linear is None for one in gaussians):
            return super().sigma_gradients(gaussians, grads, scale, key)
        factor = 0.0 if scale is None else scale.item()
        made = []
        for one, grad in zip(gaussians, grads, strict=True):
            strength, ceiling = one.regularizer.linear or (0.0, 0.0)
            gradient = _empty_like(one.sigma)
            arrays = _flat(gradient), _flat(grad), _flat(one.sigma), _mask(one.free_mu)
            pull = np.float32(factor * strength)
            numba_compiled.sigma_gradients(
                *arrays, one.free_sigma is None, np.float32(ceiling), pull, np.uint64(key), one.number
            )
            made.append(gradient)
        return made

    @override
    def keep_free(self, tensors: Sequence[tuple[Tensor, Tensor]]) -> None:
        for total, free in tensors:
            if total.is_contiguous():
                numba_compiled.keep_free(_flat(total), _mask(free))
            else:
                super().keep_free([(total, free)])

    @override
    def add_masked(self, tensors: Sequence[tuple[Tensor, Tensor, Tensor]], factor: float | Tensor) -> None:
        factor = float(factor)
        for total, values, free in tensors:
            if total.is_contiguous():
                numba_compiled.add_masked(_flat(total), _flat(values), _mask(free), np.float32(factor))
            else:
                super().add_masked([(total, values, free)], factor)


def _empty_like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _flat(tensor: Tensor) -> Any:
    """Return the numbers in a row, float32; of a contiguous tensor its own memory."""
    return tensor.detach().contiguous().view(-1).numpy()


def _mask(free: Tensor | None) -> Any:
    """Return a byte for each weight, or none."""
    return np.empty(0, np.uint8) if free is None else _flat(free).view(np.uint8)
