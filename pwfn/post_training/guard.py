"""Compare the predicted change of the loss with the measured one, and trust it only so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pwfn.curvature import Watched
from pwfn.curvature.linear_calls import evaluating
from pwfn.post_training.ranks import Ranks

TRIES = 4  # times that a layer is chosen, with dearer moves and less compensation in between
LAYER_TOLERATED = 3.0  # times its predicted change that what a layer was measured to change is still believed
WHOLE_TOLERATED = 1.5  # the same of all layers together: no layer behind them makes good what they do
SHARE_OF_RATE = 0.5  # or a change that costs less than this share of what the bits cost
STEEPEST = 30.0  # times that a price is raised at most from one try to the next
LESS_TRUST = 0.1  # what is left of the compensation from one try to the next: few images show few directions


class Measured:
    """Measure how far answers are from the reference's, on images that made no statistics.

    Args:
        watched: the network.
        reference: the network as it was.
        batches: images, each [batch, channels, height, width].
        ranks: which have images of their own.
    """

    def __init__(self, watched: Watched, reference: Watched, batches: Sequence[Tensor], ranks: Ranks) -> None:
        self._watched, self._batches, self._ranks = watched, batches, ranks
        self._expected = [_answers(reference, batch) for batch in batches]
        self.images = int(ranks.total(torch.tensor(float(sum(map(len, batches))))))

    def divergence(self) -> float:
        """Return the mean KL divergence of the network's answers from the reference's, in nats; NaN is inf."""
        total = torch.zeros((), dtype=torch.float64)
        for batch, expected in zip(self._batches, self._expected, strict=True):
            found = _answers(self._watched, batch)
            total += (expected.exp() * (expected - found)).sum().double().cpu()
        mean = float(self._ranks.total(total)) / self.images
        return mean if mean == mean else float("inf")


def _answers(watched: Watched, batch: Tensor) -> Tensor:
    with evaluating(watched.network, watched.weights, gradients=False):
        logits: Tensor = watched.network(batch.to(watched.weights[0].device))
    return logits.float().log_softmax(1)


@dataclass(frozen=True)
class Attempt:
    """Hold one layer's values, what they were predicted to change, and what they changed.

    Attributes:
        values: float64 [groups, rows, columns].
        bits: of an ideal code, all of the layer's weights together.
        predicted: nats.
        divergence: of the network with them and with all layers before as they were chosen, in nats; NaN where it was
            not measured.
    """

    values: Tensor
    bits: float
    predicted: float
    divergence: float

    def cost(self, rate: float) -> float:
        """Return what the attempt costs, measured: nats and bits."""
        return self.divergence + rate * self.bits


def guarded(
    before: float,
    rate: float,
    attempt: Callable[[float, float], Attempt],
    rounding: Callable[[], Attempt],
) -> Attempt:
    """Choose a layer, again with dearer moves, then less compensation, where it changes too much.

    Where prediction and measurement never agree, rounding to the nearest values competes as well, and the cheapest by
    measurement is returned.

    Args:
        before: the divergence with the layer as it was.
        rate: nats that a bit is worth.
        attempt: chooses the layer at a price of moves and with a share of the compensation, and writes it.
        rounding: rounds the layer, and writes it.

    Returns:
        The attempt that costs least by measurement. It need not be the last one written.
    """
    attempts: list[Attempt] = []
    price = trust = 1.0
    for number in range(TRIES):
        found = attempt(price, trust)
        attempts.append(found)
        changed = found.divergence - before
        if believed(changed, found.predicted, rate * found.bits, LAYER_TOLERATED):
            break
        price *= dearer(changed, found.predicted)
        if number or not rate:  # where bits have no price, dearer moves are no other moves
            trust *= LESS_TRUST
    else:
        attempts.append(rounding())
    return min(attempts, key=lambda one: one.cost(rate))


def believed(changed: float, predicted: float, cost_of_bits: float, tolerated: float) -> bool:
    """Tell whether a measured change is near enough to the predicted one, or small beside the bits.

    Args:
        changed: of the divergence, in nats.
        predicted: the same, in nats.
        cost_of_bits: in nats.
        tolerated: how many times the predicted change is near enough.
    """
    return changed <= max(tolerated * predicted, SHARE_OF_RATE * cost_of_bits)


def dearer(changed: float, predicted: float) -> float:
    """Return how many times dearer moves get that change more than predicted (nats), up to `STEEPEST`."""
    times = changed / max(predicted, 1e-300)
    return times if times < STEEPEST else STEEPEST  # also where it is NaN, as no comparison with it holds
