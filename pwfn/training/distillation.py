"""Distill the pretrained network into the one that is trained (Hinton et al. 2015, arXiv:1503.02531)."""

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
    """Replace the loss of the data by `(1 - weight) * cross entropy + weight * divergence`.

    Args:
        weight: from 0, which changes nothing, to 1.
        temperature: by which the logits of both networks are divided; above 0.
    """

    weight: float
    temperature: float

    def __post_init__(self) -> None:
        require(
            self,
            weight=(0 <= self.weight <= 1, "from 0 (no distillation) to 1"),
            temperature=(0 < self.temperature < math.inf, "a number above 0"),
        )

    def divergence(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Compute `T^2 * KL(softmax(answers / T) || softmax(logits / T))` in nats, mean over the images.

        The factor T^2 keeps the size of the gradient when the temperature T is changed (section 2 of the paper).

        Args:
            logits: of the network that is trained, [images, classes].
            answers: logits of the teacher, [images, classes].
        """
        ours, theirs = (F.log_softmax(scores.float() / self.temperature, dim=1) for scores in (logits, answers))
        return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * self.temperature**2

    def mixed(self, cross_entropy: Tensor, divergence: Tensor) -> Tensor:
        """Weigh the two terms of the loss; both in nats."""
        return (1 - self.weight) * cross_entropy + self.weight * divergence


class Teacher:
    """Answer with the logits of a fixed network.

    It is no nn.Module, so that its weights are in no state dict of the module that holds it.

    Args:
        build: makes the network, without weights; no random stream goes on for it.
        weights: its state dict.
    """

    def __init__(self, build: Callable[[], nn.Module], weights: Mapping[str, Tensor]) -> None:
        with own_streams():
            network = build()
        network.load_state_dict(weights)
        self._network = network.eval().requires_grad_(False)

    @property
    def bytes(self) -> int:
        """Return how many bytes of memory it takes."""
        tensors = (*self._network.parameters(), *self._network.buffers())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def to(self, device: torch.device) -> None:
        """Move the network to `device`."""
        self._network.to(device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits [images, classes] of images [images, channels, height, width]."""
        answers: Tensor = self._network(images)
        return answers
