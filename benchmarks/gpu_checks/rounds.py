"""A clustering round of a network on the device."""

from __future__ import annotations

import time
from collections.abc import Iterator

import timm
import torch
from torch import nn

from benchmarks.gpu_checks.plan import Plan, Row, finish
from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors, set_sigma, to_bayesian
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.clustering.rules import Greedy
from pwfn.clustering.sigma_join import StdMu
from pwfn.run.rounds.cluster_network import cluster_network


def clustering(plan: Plan) -> Iterator[Row]:
    """Measure a round, the copies from the device and back included."""
    model = timm.create_model("test_resnet" if plan.smoke else "resnet50", num_classes=1000)
    to_bayesian(model)
    set_sigma(model, Pow2DistancePrior())
    model.to(plan.device)
    finish(plan)
    pinned = 0.0 if plan.smoke else _pinned_copy(model)
    started = time.perf_counter()
    model.to("cpu")
    copied = time.perf_counter() - started
    tensors = quantized_tensors(model)
    before = FlatWeights.of(tensors)
    chosen = {"rule": Greedy(), "codebook": AdditivePow2(), "sigma_join": StdMu()}
    cluster_network(tensors, before, fraction=0.9, threshold=1.0, **chosen)
    model.to(plan.device)
    finish(plan)
    taken = time.perf_counter() - started
    weights = len(before.mu)
    note = f"{weights} weights, of it {copied:.3f} s for the copy to the CPU"
    note += "" if plan.smoke else f" ({pinned:.3f} s into pinned memory, asynchronously)"
    yield Row("clustering round, seconds", "90% fixed", taken, 1.5, counts=not plan.smoke, note=note)


def _pinned_copy(model: nn.Module) -> float:
    """Seconds for the same copy, all of it queued, into pinned memory that a round before has left."""
    tensors = [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
    places = [torch.empty_like(tensor, device="cpu", pin_memory=True) for tensor in tensors]
    started = time.perf_counter()
    for place, tensor in zip(places, tensors, strict=True):
        place.copy_(tensor, non_blocking=True)
    torch.cuda.synchronize()
    return time.perf_counter() - started
