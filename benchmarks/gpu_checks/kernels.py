"""Compare the kernels of the device with the reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_checks.plan import Plan, Row
from pwfn.bayesian.kernels import Gaussian, backend
from pwfn.bayesian.kernels.reference import Reference
from pwfn.bayesian.regularizer import ExponentialRegularizer, LinearOnGradRegularizer, LinearRegularizer, NoRegularizer

ROUNDING = 1e-4
RULES = (LinearRegularizer(0.3, 1.0), NoRegularizer(), ExponentialRegularizer(0.3, 0.5), LinearOnGradRegularizer(0.3))
SHAPES = ((1,), (511,), (1025,), (0,), (64, 3, 7, 7), (256, 64, 1, 1), (128, 128, 3, 3), (3, 1000, 1000))


def laid_out(values: Tensor, form: int) -> Tensor:
    """Lay out the numbers in a row, with the channels last, or transposed."""
    if values.dim() == 4 and form == 1:
        return values.to(memory_format=torch.channels_last)
    return values.transpose(0, -1).contiguous().transpose(0, -1) if form == 2 and values.dim() > 1 else values


def kernels(plan: Plan) -> Iterator[Row]:
    """Compare the kernels of this device with the reference: the largest relative difference."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        worst = 0.0
        for rule in RULES:
            for form in range(3):
                for masked in (False, True):
                    worst = max(worst, *_differences(plan.device, dtype, rule, form, masked))
        limit = 0.02 if dtype == torch.bfloat16 else ROUNDING
        yield Row("kernels equal the reference", str(dtype).removeprefix("torch."), worst, limit)


def _differences(device: str, dtype: torch.dtype, rule: Any, form: int, masked: bool) -> Iterator[float]:
    numbers = torch.Generator().manual_seed(0)
    gaussians, grads = [], []
    for number, shape in enumerate(SHAPES):
        mu, sigma, grad = (laid_out(torch.randn(shape, generator=numbers), form).to(device, dtype) for _ in range(3))
        free = laid_out(torch.rand(shape, generator=numbers) < 0.4, form).to(device) if masked else None
        gaussians.append(Gaussian(number, mu, sigma, free, None if number % 2 else free, rule))
        grads.append(grad)
    fast, slow = backend([one.mu for one in gaussians]), Reference()
    scale = torch.tensor(3.0, device=device, dtype=dtype)
    ends = []
    for ones in (fast, slow):
        weights, penalty = ones.draw(gaussians, 2**63 + 12345)
        of_sigma = ones.sigma_gradients(gaussians, grads, scale, 2**63 + 12345)
        totals = [grad.clone() for grad in grads]
        if masked:
            ones.add_masked([(t, g.mu, g.free_mu) for t, g in zip(totals, gaussians, strict=True)], -0.3)
            ones.keep_free([(t, g.free_mu) for t, g in zip(totals, gaussians, strict=True)])
        ends.append([*weights, penalty, *of_sigma, *totals])
    for made, expected in zip(*ends, strict=True):
        if expected.numel():
            yield float((made.double() - expected.double()).abs().max() / expected.double().abs().max().clamp(min=1))
