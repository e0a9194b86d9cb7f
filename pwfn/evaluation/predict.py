"""Predict from images alone: at the mean weights, of one draw, of an ensemble of draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwfn.bayesian.posterior import sampled
from pwfn.data import DataError
from pwfn.models.precision import Computing
from pwfn.randomness import mixed_seed


class LabeledImages:
    """Iterate over the images of a split many times, and keep the labels apart.

    Predictors are given this and nothing else. `labels` are those of the batches, in their order. Raises DataError if a
    later pass brings other labels, for then the images came in another order too.
    """

    def __init__(self, loader: Iterable[tuple[Tensor, Tensor]]) -> None:
        self._loader = loader
        self._labels: list[Tensor] | None = None

    def __iter__(self) -> Iterator[Tensor]:
        seen = []
        for images, labels in self._loader:
            seen.append(labels)
            yield images
        if self._labels is None:
            self._labels = seen
        if not torch.equal(torch.cat(self._labels), torch.cat(seen)):
            raise DataError("the test images came in another order than before: nothing can be said of single images")

    @property
    def labels(self) -> list[Tensor]:
        """Return the labels of each batch."""
        if self._labels is None:
            for _ in self:
                pass
        assert self._labels is not None
        return self._labels


@dataclass(frozen=True)
class Prediction:
    """Hold the class probabilities of each image.

    `log_probabilities` are float64 [images, classes] on the CPU.

    Of an ensemble also the mean entropy of its members (nats) [images], and the class each of them chose
    [members, images].
    """

    log_probabilities: Tensor
    member_entropy: Tensor | None = None
    member_choice: Tensor | None = None


@torch.no_grad()
def logits(network: nn.Module, images: Iterable[Tensor], on: Computing) -> Iterator[Tensor]:
    """Yield the network's logits batch by batch, on its device.

    Args:
        network: put into evaluation mode.
        images: batches of images.
        on: device and precision.
    """
    network.eval()
    for batch in images:
        with on.context():
            result: Tensor = network(batch.to(on.device, non_blocking=True))
        yield result


@torch.no_grad()
def predict(
    network: nn.Module, images: Iterable[Tensor], on: Computing, watch: Callable[[Tensor], None] | None = None
) -> Prediction:
    """Predict at the weights that the network has now.

    Args:
        network: put into evaluation mode.
        images: batches of images.
        on: device and precision.
        watch: is shown the logits of every batch.

    Returns:
        The class probabilities, in float64 on the CPU.
    """
    rows = []
    for batch in logits(network, images, on):
        if watch is not None:
            watch(batch)
        rows.append(F.log_softmax(batch.double(), dim=1).cpu())
    return Prediction(torch.cat(rows))


def predict_draws(
    network: nn.Module,
    images: Iterable[Tensor],
    on: Computing,
    *,
    samples: int,
    seed: int,
    on_draw: Callable[[int], None] = lambda _: None,
) -> tuple[Prediction, Prediction]:
    """Return predictions of networks drawn from the posterior: of the first alone, and of all together.

    An ensemble averages probabilities. Each draw sees every image, so the result does not depend on the batch size, and
    is a function of (seed, its number) alone. The global random state is left unchanged.

    Args:
        network: a Bayesian network.
        images: batches of images; gone through once for each draw.
        on: device and precision.
        samples: how many networks are drawn, from 1.
        seed: of the draws.
        on_draw: is told the number of each draw before it is made.

    Raises:
        ValueError: `samples` is below 1.
    """
    if samples < 1:
        raise ValueError(f"samples = {samples}: must be at least 1")
    total, member_entropy = torch.tensor(-math.inf, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    first, choices = None, []
    for draw in range(samples):
        on_draw(draw)
        with drawn(network, seed, draw):
            found = predict(network, images, on).log_probabilities
        first = found if first is None else first
        total = torch.logaddexp(total, found)
        member_entropy = member_entropy + entropy(found)
        choices.append(first_choice(found))
    assert first is not None
    count = torch.tensor(samples, dtype=torch.float64)
    return Prediction(first), Prediction(total - count.log(), member_entropy / samples, torch.stack(choices))


@contextmanager
def drawn(network: nn.Module, seed: int, draw: int) -> Iterator[None]:
    """Replace the weights of a network by a draw of its posterior inside the block.

    The global random state is left unchanged.

    Args:
        network: a Bayesian network.
        seed: of all draws.
        draw: number of this one, from 0.
    """
    with ExitStack() as block:
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # a draw takes its key from the CPU's stream alone
            torch.default_generator.manual_seed(mixed_seed(seed, draw))
            block.enter_context(sampled(network))
        yield


def entropy(log_probabilities: Tensor) -> Tensor:
    """Compute -sum p ln p over the classes, in nats [images]."""
    result: Tensor = torch.special.entr(log_probabilities.exp()).sum(1)
    return result


def first_choice(log_probabilities: Tensor) -> Tensor:
    """Return the most probable class of each image, of equals the one of smaller number.

    torch's argmax may take any of them.
    """
    return torch.from_numpy(log_probabilities.numpy().argmax(1))
