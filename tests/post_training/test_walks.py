"""A whole walk over the layers is believed or not; where it is not, the cheapest of three stays in the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pwfn.curvature import Watched
from pwfn.post_training import cluster_layers
from pwfn.post_training.guard import Measured
from pwfn.post_training.outcome import Outcome
from pwfn.post_training.ranks import Ranks
from tests.support.layer_clustering import Net, clustering


def test_the_guard_keeps_the_walk_that_costs_least(
    trained: tuple[Net, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All walks start from the same network; where the first is not believed, the cheapest stays in the network."""
    walks: list[Outcome] = []
    starts: list[Tensor] = []
    through = cluster_layers._Walk._through

    def watched(walk: cluster_layers._Walk, choose: Any) -> Outcome:
        starts.append(torch.cat([weight.detach().flatten() for weight in walk.clustering.watched.weights]))
        walks.append(through(walk, choose))
        return walks[-1]

    monkeypatch.setattr(cluster_layers._Walk, "_through", watched)
    monkeypatch.setattr(cluster_layers, "believed", lambda *_: False)
    for rate in (1e-3, 1e-5):
        walks.clear()
        starts.clear()
        made, _ = clustering(trained, rate=rate)
        outcome = made.run()
        assert len(walks) == 3
        assert all(torch.equal(start, starts[0]) for start in starts)
        assert outcome is min(walks, key=lambda walk: walk.divergence + rate * walk.bits)
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
