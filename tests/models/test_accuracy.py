"""The scores of a split, against scikit-learn and a loop over single images."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import log_loss, top_k_accuracy_score

from pwfn.models.accuracy import RunningScores, label_ranks


def test_scores_equal_those_of_scikit_learn_however_they_are_batched() -> None:
    logits = 3 * torch.randn(359, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(7, (359,), generator=torch.Generator().manual_seed(1))
    probabilities = logits.double().softmax(1).numpy()
    for size in (359, 50, 1):
        running = RunningScores()
        for part, own in zip(logits.split(size), labels.split(size), strict=True):
            running.update(part, own)
        scores = running.scores()
        assert scores.top1 == 100 * top_k_accuracy_score(labels, logits, k=1)
        assert scores.top5 == 100 * top_k_accuracy_score(labels, logits, k=5)
        assert scores.loss == pytest.approx(log_loss(labels, probabilities), rel=1e-13)


def test_a_share_that_float32_cannot_hold_is_exact() -> None:
    running = RunningScores()
    labels = torch.zeros(3, dtype=torch.int64)
    running.update(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), labels)
    assert running.scores().top1 == 100 * (1 / 3)
    assert running.scores().top5 == 100.0  # two classes: both are among the first five
    running.reset()
    running.update(torch.tensor([[1.0, 0.0]]), labels[:1])
    assert running.scores().top1 == 100.0


def test_ranks_are_those_of_a_loop_also_where_scores_are_equal_or_no_numbers() -> None:
    scores = torch.randint(4, (200, 6), generator=torch.Generator().manual_seed(0)).float()
    labels = torch.randint(6, (200,), generator=torch.Generator().manual_seed(1))
    for row, label, rank in zip(scores.tolist(), labels.tolist(), label_ranks(scores, labels).tolist(), strict=True):
        order = sorted(range(6), key=lambda c: (-row[c], c))
        assert rank == order.index(label)
    nan = torch.full((1, 6), math.nan)
    assert label_ranks(nan, torch.tensor([0])).item() == 6
    assert label_ranks(torch.tensor([[math.nan, 1.0, 0.0]]), torch.tensor([1])).item() == 1
