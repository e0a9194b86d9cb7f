"""A whole walk over the layers is believed or not; where it is not, the cheapest of three stays in the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from timm.layers import ScaledStdConv2d
from torch import Tensor, nn

from pwfn.clustering import SecondOrder
from pwfn.curvature import Watched
from pwfn.post_training import cluster_layers
from pwfn.post_training.cluster_layers import Calibration, LayerClustering, Masks
from pwfn.post_training.guard import Measured
from pwfn.post_training.outcome import Outcome
from pwfn.post_training.ranks import Ranks
from tests.support.layer_clustering import TABLE, Net, clustering


class OwnNorm(nn.Module):
    """A batch normalization whose running mean has a name of its own."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = norm
        self.register_buffer("center", norm.running_mean)
        norm.running_mean = None

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        return nn.functional.batch_norm(x, self.center, norm.running_var, norm.weight, norm.bias)  # type: ignore[arg-type]


def shifting(trained: tuple[Net, Tensor], rate: float, wrap: Callable[[nn.BatchNorm2d], nn.Module]) -> LayerClustering:
    """Cluster a network whose second convolution has no bias: the norm behind it takes shifts."""
    network = Net()
    network.load_state_dict(trained[0].state_dict())
    network.body[2].bias = None
    network.body[3] = wrap(network.body[3])  # type: ignore[arg-type]
    weights = [one for name, one in network.named_parameters() if "body.3" not in name]
    rule = SecondOrder(rate=rate, images=256)
    calibration = Calibration.of(trained[1][:256], 100)
    return LayerClustering(Watched(network.eval(), weights), [TABLE] * len(weights), rule, calibration)


def state(made: LayerClustering) -> Tensor:
    """Return all numbers of the network, in a vector."""
    return torch.cat([one.detach().double().flatten() for one in made.watched.network.state_dict().values()])


@pytest.mark.parametrize("wrap", [lambda norm: norm, OwnNorm], ids=["norm", "own norm"])
@pytest.mark.parametrize("cheapest", [0, 1, 2])
def test_the_guard_keeps_the_walk_that_costs_least(
    trained: tuple[Net, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    cheapest: int,
    wrap: Callable[[nn.BatchNorm2d], nn.Module],
) -> None:
    """All walks start from the same network; whichever is the cheapest, the network is as it has left it."""
    made = shifting(trained, 1e-3, wrap)
    torch.manual_seed(1)
    held = [torch.rand(weight.shape) < 0.2 for weight in made.watched.weights]
    free = [(torch.rand(weight.shape) < 0.3) & ~one for weight, one in zip(made.watched.weights, held, strict=True)]
    before = [weight.detach().clone() for weight in made.watched.weights]
    starts: list[Tensor] = []
    ends: list[Tensor] = []
    through = cluster_layers._Walk._through

    def watched(walk: cluster_layers._Walk, choose: Any) -> Outcome:
        starts.append(state(made))
        outcome = through(walk, choose)
        ends.append(state(made))
        return replace(outcome, divergence=1.0 if len(ends) == cheapest + 1 else 1e3)

    monkeypatch.setattr(cluster_layers._Walk, "_through", watched)
    monkeypatch.setattr(cluster_layers, "believed", lambda *_: False)
    assert made.run(Masks(held, free)).divergence == 1.0
    assert len(starts) == 3
    assert all(torch.equal(start, starts[0]) for start in starts)
    assert not torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
    assert torch.equal(state(made), ends[cheapest])
    for weight, start, one in zip(made.watched.weights, before, held, strict=True):
        assert weight.numel() == 1 or torch.equal(weight[one], start[one])  # one number has no layer, and is rounded


def test_what_a_walk_is_said_to_cost_is_what_the_network_costs(
    trained: tuple[Net, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_layers, "believed", lambda *_: False)
    made, _ = clustering(trained, rate=1e-3)
    outcome = made.run()
    reference = Watched(trained[0], list(trained[0].parameters()))
    measured = Measured(made.watched, reference, made.calibration.held_out, Ranks())
    assert measured.divergence() == pytest.approx(outcome.divergence)


def test_a_first_walk_that_is_believed_is_the_only_one(
    trained: tuple[Net, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = clustering(trained, guard=False)
    expected = alone.run()
    monkeypatch.setattr(cluster_layers, "believed", lambda *_: True)
    made, _ = clustering(trained)
    assert made.run().layers == expected.layers
    assert all(torch.equal(a, b) for a, b in zip(made.watched.weights, alone.watched.weights, strict=True))


@pytest.mark.parametrize(("times", "walks"), [(1.4, 1), (2.0, 3)])
def test_all_layers_together_must_change_the_network_nearly_as_predicted(
    trained: tuple[Net, Tensor], monkeypatch: pytest.MonkeyPatch, times: float, walks: int
) -> None:
    made, _ = clustering(trained, rate=1e-9)  # bits that cost next to nothing
    through, count = cluster_layers._Walk._through, 0

    def wrong(walk: cluster_layers._Walk, choose: Any) -> Outcome:
        nonlocal count
        count += 1
        outcome = through(walk, choose)
        return replace(outcome, divergence=walk.divergence + times * outcome.predicted)

    monkeypatch.setattr(cluster_layers._Walk, "_through", wrong)
    made.run()
    assert count == walks


def test_a_rank_whose_own_numbers_differ_goes_on_as_rank_0_does(trained: tuple[Net, Tensor]) -> None:
    """A rank that came to other decisions would wait for a sum that no other rank makes."""
    shared: list[tuple[str, Tensor]] = []

    def recorded(name: str) -> Callable[[Tensor], Tensor]:
        return lambda tensor: shared.append((name, tensor.clone())) or tensor  # type: ignore[func-returns-value]

    def replayed(name: str) -> Callable[[Tensor], Tensor]:
        def next_of(tensor: Tensor) -> Tensor:
            expected, kept = shared.pop(0)
            assert (name, tensor.shape) == (expected, kept.shape)
            return kept

        return next_of

    first = replace(clustering(trained, rate=1e-3)[0], ranks=Ranks(recorded("total"), recorded("decided")))
    outcome = first.run()
    other = clustering(trained, rate=1e-3, damping=0.5)[0]  # a damping of its own makes other predictions
    assert replace(other, ranks=Ranks(replayed("total"), replayed("decided"))).run().layers == outcome.layers
    assert not shared


def test_a_network_of_no_layer_is_rounded(trained: tuple[Net, Tensor]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(ScaledStdConv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    weight = network[0].weight
    before = weight.detach().clone()
    calibration = Calibration.of(trained[1][:16], 8)
    outcome = LayerClustering(Watched(network, [weight]), [TABLE], SecondOrder(images=16), calibration).run()
    assert (outcome.layers, outcome.no_layer) == ([], [0])
    nearest = (before.double()[..., None] - TABLE).abs().min(-1).values
    assert torch.isin(weight.detach().double(), TABLE).all()
    torch.testing.assert_close((weight.detach() - before).abs().double(), nearest, rtol=0, atol=1e-7)
