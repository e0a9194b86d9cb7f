"""Compare time and peak memory of a Bayesian step with those of an ordinary one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import product
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu_checks.plan import FIXED, Case, Plan, Row, finish
from pwfn.bayesian.posterior import quantized_tensors, sampled, set_sigma, to_bayesian
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.bayesian.regularizer import LinearRegularizer
from pwfn.training.optimizer import SGD, before_step, build_optimizer

OPTIMIZER = SGD(lr=1e-4, momentum=0.9, weight_decay=1e-4, clip_norm=1.0)
PRECISIONS = ("bf16-mixed", "32-true")
Step = Callable[[], None]


def built(case: Case, plan: Plan, precision: str, share: float | None, *, compiled: bool = False) -> Step:
    """Build an ordinary step (`share` is None), or a Bayesian one with a share of the weights fixed."""
    form = torch.channels_last if case.channels_last else torch.contiguous_format
    model = timm.create_model(case.model, num_classes=1000)
    if share is not None:
        to_bayesian(model)
    model = model.to(plan.device, memory_format=form).train()
    images = torch.randn(case.batch, 3, case.pixels, case.pixels, device=plan.device).to(memory_format=form)
    labels = torch.randint(0, 1000, (case.batch,), device=plan.device)
    trained = torch.compile(model) if compiled else model
    mixed = torch.autocast(plan.device, torch.bfloat16) if precision == "bf16-mixed" else nullcontext()
    if share is None:
        return _ordinary(model, trained, images, labels, mixed)
    set_sigma(model, Pow2DistancePrior())
    for tensor in quantized_tensors(model):
        tensor.gaussian.assignment.masked_fill_(torch.rand(tensor.mu.shape) < share, 0)
    return _bayesian(model, trained, images, labels, mixed)


def _ordinary(model: nn.Module, trained: Any, images: Tensor, labels: Tensor, mixed: Any) -> Step:
    parameters = list(model.parameters())
    rates = {"lr": OPTIMIZER.lr, "momentum": OPTIMIZER.momentum, "weight_decay": OPTIMIZER.weight_decay}
    optimizer = torch.optim.SGD(parameters, **rates, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with mixed:
            loss = F.cross_entropy(trained(images), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def _bayesian(model: nn.Module, trained: Any, images: Tensor, labels: Tensor, mixed: Any) -> Step:
    optimizer = build_optimizer(model, OPTIMIZER)

    def step() -> None:
        optimizer.zero_grad()
        with sampled(model, LinearRegularizer()) as penalty, mixed:
            loss = F.cross_entropy(trained(images), labels) + penalty
        loss.backward()
        before_step(model, OPTIMIZER, optimizer)
        optimizer.step()

    return step


def seconds(step: Step, plan: Plan) -> float:
    """Measure one step, as the mean of a block of them."""
    finish(plan)
    started = time.perf_counter()
    for _ in range(plan.steps):
        step()
    finish(plan)
    return (time.perf_counter() - started) / plan.steps


def ratios(case: Case, plan: Plan, precision: str, *, compiled: bool = False) -> Iterator[Row]:
    """Compare the Bayesian step with the ordinary one, in turn."""
    shares: tuple[float | None, ...] = (None, 0.0, FIXED)
    runs = [built(case, plan, precision, share, compiled=compiled) for share in shares]
    for step in runs:
        for _ in range(3):
            step()
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(plan.blocks):
        for step, kept in zip(runs, taken, strict=True):
            kept.append(seconds(step, plan))
    ordinary, *bayesian = map(statistics.median, taken)
    kind = "compiled" if compiled else "eager"
    for share, middle in zip(shares[1:], bayesian, strict=True):
        name = f"{case.model} {case.pixels}, batch {case.batch}, {precision}, {kind}, {share:.0%} fixed"
        note = f"ordinary {1000 * ordinary:.1f} ms"
        yield Row("step over ordinary step", name, middle / ordinary, 1.05, counts=not plan.smoke, note=note)


def steps(plan: Plan) -> Iterator[Row | None]:
    """Compare steps that are not compiled."""
    for precision in PRECISIONS:
        for case in plan.cases:
            yield None  # the time may be up
            yield from ratios(case, plan, precision)


def compiled_steps(plan: Plan) -> Iterator[Row | None]:
    """Compare steps that are compiled."""
    for case in plan.compiled:
        for precision in PRECISIONS:
            yield None
            yield from ratios(case, plan, precision, compiled=True)


def memory(plan: Plan) -> Iterator[Row | None]:
    """Compare the peaks of memory, in bytes of the quantized weights."""
    for case, precision in () if plan.smoke else product(plan.cases, PRECISIONS):
        yield None
        peaks = {share: _peak(case, plan, precision, share) for share in (None, 0.0, FIXED)}
        model = timm.create_model(case.model, num_classes=1000)
        weights = 4 * sum(tensor.mu.numel() for tensor in to_bayesian(model))
        for share in (0.0, FIXED):
            extra = (peaks[share] - peaks[None]) / weights
            name = f"{case.model}, {precision}, {share:.0%} fixed"
            yield Row("peak memory over ordinary, in weights", name, extra, 3.2)


def _peak(case: Case, plan: Plan, precision: str, share: float | None) -> int:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    step = built(case, plan, precision, share)
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats()
        step()
    finish(plan)
    return torch.cuda.max_memory_allocated() - before
