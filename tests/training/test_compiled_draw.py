"""The compiler sees one whole network behind a draw, and the next draw needs no other code."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from pwfn.bayesian.posterior import quantized_tensors, sampled, set_sigma, to_bayesian
from pwfn.bayesian.prior import ConstantPrior
from pwfn.bayesian.regularizer import LinearRegularizer

RULE = LinearRegularizer(0.1)


def bayesian(name: str) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(name, num_classes=5)
    to_bayesian(network)
    set_sigma(network, ConstantPrior(1e-2))
    return network.eval()


def ends(network: nn.Module, computed: Any, images: Tensor, seed: int) -> list[Tensor]:
    """The logits and every gradient of one draw."""
    network.zero_grad()
    torch.manual_seed(seed)
    with sampled(network, RULE) as penalty:
        logits: Tensor = computed(images)
        (logits.square().sum() + penalty).backward()
    tensors = quantized_tensors(network)
    return [logits.detach(), *(one.grad.clone() for t in tensors for one in (t.mu, t.gaussian.sigma))]  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_draw_breaks_no_graph() -> None:
    graphs = list[Any]()

    def keep(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    network, images = bayesian("test_resnet"), torch.randn(2, 3, 32, 32)
    compiled = torch.compile(network, fullgraph=True, backend=keep)  # an error at a break
    first = ends(network, compiled, images, 1)
    second = ends(network, compiled, images, 2)
    assert len(graphs) == 1
    assert not torch.equal(first[0], second[0])
    for made, seed in ((first, 1), (second, 2)):
        torch.testing.assert_close(made, ends(network, network, images, seed))
