"""Count accuracy and cross entropy over a whole split, in one way for training and evaluation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from pwfn.records.rounds import Scores


def label_ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """Count the classes that stand before each image's label; 0 = the label is the first guess.

    Among equal scores the class of smaller number comes first, and NaN stands before everything, so that a network that
    knows nothing is right about the first class alone, and a broken one about none.

    Args:
        scores: [images, classes].
        labels: class numbers, int64 [images].

    Returns:
        int64 [images].
    """
    own = scores.gather(1, labels[:, None])
    classes = torch.arange(scores.shape[1], device=scores.device)
    before = ~(scores <= own) | (scores == own) & (classes < labels[:, None])
    return before.sum(1)


class RunningScores(Metric):
    """Sum hits and cross entropies over batches and processes, exact in float64 for any split.

    torchmetrics' own accuracy divides in float32.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(4, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits [images, classes], labels int64 [images]."""
        ranks = label_ranks(logits, labels)
        loss = F.cross_entropy(logits.double(), labels, reduction="sum")
        self.sums = self.sums + torch.stack([(ranks < 1).sum(), (ranks < 5).sum(), loss, loss.new_tensor(len(labels))])

    def compute(self) -> Tensor:
        """Return top1 and top5 (percent) and mean cross entropy (nats), float64 [3]."""
        return self.sums[:3] / self.sums[3] * self.sums.new_tensor([100.0, 100.0, 1.0])

    def scores(self) -> Scores:
        """Return what `compute` does, by name."""
        result: Any = self.compute()
        return Scores(*result.tolist())
