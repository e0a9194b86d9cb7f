"""Run the round loop without training: a runner that shakes the free weights, and a loop around it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors, set_sigma, to_bayesian
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.clustering.rules import Greedy
from pwfn.clustering.sigma_join import std_mu
from pwfn.records.rounds import Scores
from pwfn.run.rounds.round_loop import RoundLoop
from pwfn.run.rounds.schedule import Schedule
from pwfn.training.optimizer import SGD
from pwfn.training.phase import Phase

FRACTIONS = (0.3, 0.6, 0.9, 1.0)


OPTIMIZER = SGD(lr=0.1)


@dataclass
class FakeRunner:
    """Shakes the free weights a little at each fit, scores with a running number, and remembers what it saw."""

    network: nn.Module
    steps: int = 100
    shake: float = 0.01
    shake_fixed: bool = False
    validates: bool = False
    phases: list[Phase] = field(default_factory=list)
    seen: list[FlatWeights] = field(default_factory=list)

    def fit(self, phase: Phase) -> None:
        self.phases.append(phase)
        self.steps += 10 * phase.epochs
        time.sleep(0.01)
        with torch.no_grad():
            for t in quantized_tensors(self.network):
                free = t.gaussian.assignment == -1
                t.mu.add_(self.shake * torch.randn_like(t.mu) * (free | self.shake_fixed))

    def validate(self) -> Scores | None:
        """Half as good as on the test images."""
        number = len(self.seen)
        return Scores(top1=number / 2, top5=number / 2 + 0.25, loss=2 / number) if self.validates else None

    def new_statistics(self, images: int) -> tuple[int, int]:
        return 0, images

    def squared_gradients(self, batches: int) -> Tensor:
        return torch.cat([t.mu.detach().flatten() for t in quantized_tensors(self.network)]).square() / batches

    def kronecker_diagonal(self, images: int) -> Tensor:
        return self.squared_gradients(images)

    def test(self) -> Scores:
        self.seen.append(FlatWeights.of(quantized_tensors(self.network)))
        number = len(self.seen)
        return Scores(top1=number, top5=number + 0.5, loss=1 / number)


def loop(
    training: Literal["joint", "alternate"] = "joint", **runner_options: Any
) -> tuple[RoundLoop, FakeRunner, list[str]]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(30, 20), nn.LayerNorm(20), nn.Linear(20, 10))
    to_bayesian(network)
    set_sigma(network, Pow2DistancePrior())
    runner = FakeRunner(network, **runner_options)
    said: list[str] = []
    made = RoundLoop(
        runner=runner,
        network=network,
        schedule=Schedule(FRACTIONS, first_epochs=2, first_share=0.25, rest_epochs=3, training=training),
        clustering=Greedy(start=1.0, end=2.5, inc=2.0),
        codebook=AdditivePow2(b=7),
        sigma_join=std_mu,
        optimizer=OPTIMIZER,
        on_phase=lambda phase: said.append(phase.label),
        on_status=said.append,
    )
    return made, runner, said
