"""Learning from the pretrained network's answers beside the labels (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwfn.errors import require
from pwfn.randomness import own_streams


@dataclass(frozen=True)
class Distillation:
    """The loss of the data becomes `(1 - weight) * cross entropy + weight * divergence`; with weight 0 nothing changes."""

    weight: float
    temperature: float

    def __post_init__(self) -> None:
        require(
            self,
            weight=(0 <= self.weight <= 1, "from 0 (no distillation) to 1"),
            temperature=(0 < self.temperature < math.inf, "a number above 0"),
        )

    def divergence(self, logits: Tensor, answers: Tensor) -> Tensor:
        """`T^2 * KL(softmax(answers / T) || softmax(logits / T))` in nats, mean over the images; both [images, classes].

        The square keeps the size of its gradient when the temperature T is changed.
        """
        ours, theirs = (F.log_softmax(scores.float() / self.temperature, dim=1) for scores in (logits, answers))
        return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * self.temperature**2

    def mixed(self, cross_entropy: Tensor, divergence: Tensor) -> Tensor:
        return (1 - self.weight) * cross_entropy + self.weight * divergence


class Teacher:
    """A network that only answers. No module, so that whoever holds it has none of its weights in a state dict."""

    def __init__(self, build: Callable[[], nn.Module], weights: Mapping[str, Tensor]) -> None:
        """`build` makes a plain network, `weights` is its state dict; no random stream goes on for it."""
        with own_streams():
            network = build()
        network.load_state_dict(weights)
        self._network = network.eval().requires_grad_(False)

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        tensors = (*self._network.parameters(), *self._network.buffers())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def to(self, device: torch.device) -> None:
        self._network.to(device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        answers: Tensor = self._network(images)
        return answers
