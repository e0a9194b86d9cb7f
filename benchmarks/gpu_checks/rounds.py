"""Measure a clustering round of a network on the device."""

from __future__ import annotations

import time
from collections.abc import Iterator

import timm

from benchmarks.gpu_checks.plan import Plan, Row, finish
from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors, set_sigma, to_bayesian
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.clustering.rules import Greedy
from pwfn.clustering.sigma_join import StdMu
from pwfn.run.rounds.cluster_network import cluster_network
from pwfn.training.waiting import move_to_cpu


def clustering(plan: Plan) -> Iterator[Row]:
    """Measure a round, the copies from the device and back included."""
    model = timm.create_model("test_resnet" if plan.smoke else "resnet50", num_classes=1000)
    to_bayesian(model)
    set_sigma(model, Pow2DistancePrior())
    model.to(plan.device)
    finish(plan)
    started = time.perf_counter()
    move_to_cpu(model)
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
    yield Row("clustering round, seconds", "90% fixed", taken, 1.5, counts=not plan.smoke, note=note)
