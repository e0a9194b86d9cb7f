"""Predictions of a Bayesian network: class probabilities from images alone."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwfn.posterior import sampled
from pwfn.record import Scores

Batches = Iterable[tuple[Tensor, Tensor]]


@torch.no_grad()
def ensemble_probabilities(network: nn.Module, batches: Batches, *, samples: int, seed: int) -> Tensor:
    """Mean class probabilities [images, classes] (float64, on the CPU) over `samples` networks drawn from the posterior.

    Each draw sees every image, so the result does not depend on the batch size; `batches` is iterated `samples` times
    and its labels are not looked at. The global random state is left as it was.
    """
    network.eval()
    device = next(network.parameters()).device
    total: Tensor | float = 0.0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(samples):
            with sampled(network):
                logits = [network(images.to(device)).double() for images, _ in batches]
            total = total + F.softmax(torch.cat(logits), dim=1).cpu()
    if isinstance(total, float):
        raise ValueError(f"samples = {samples}: must be at least 1")
    return total / samples


def score(probabilities: Tensor, labels: Tensor) -> Scores:
    """Accuracy in percent and mean cross entropy (nats) of class probabilities [images, classes]."""
    ranked = probabilities.argsort(dim=1, descending=True, stable=True)
    hits = ranked == labels[:, None]
    loss = F.nll_loss(probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log(), labels)
    return Scores(
        top1=100.0 * hits[:, :1].any(1).double().mean().item(),
        top5=100.0 * hits[:, :5].any(1).double().mean().item(),
        loss=loss.item(),
    )
