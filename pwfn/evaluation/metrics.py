"""Compare predictions with labels, image by image, and sum them up in metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pwfn.evaluation.predict import Prediction, entropy, first_choice
from pwfn.models.accuracy import label_ranks

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """Hold the outcome of each image [n]: hits (0 or 1), nats, and the confidence in the chosen class.

    `mutual_information` and `member_top1` (percent, of each member) are None but for ensembles.
    """

    labels: Whole
    chosen: Whole
    confidence: Numbers
    hit1: Numbers
    hit5: Numbers
    nll: Numbers
    brier: Numbers
    entropy: Numbers
    mutual_information: Numbers | None
    member_top1: Numbers | None

    def __len__(self) -> int:
        return len(self.labels)


def judge(prediction: Prediction, labels: Tensor) -> Answers:
    """Compare class probabilities with the labels [n].

    Brier's score (1950) is the squared distance to the truth, 0 to 2; mutual information is the ensemble's entropy less
    the mean entropy of its members (Depeweg et al. 2018).
    """
    logs = prediction.log_probabilities
    probabilities = logs.exp()
    ranks = label_ranks(logs, labels)
    own = probabilities.gather(1, labels[:, None])[:, 0]
    total = entropy(logs)
    members, choice = prediction.member_entropy, prediction.member_choice
    chosen = first_choice(logs)
    confidence = probabilities.gather(1, chosen[:, None])[:, 0]
    return Answers(
        labels=labels.numpy(),
        chosen=chosen.numpy(),
        confidence=confidence.clamp(max=1.0).numpy(),
        hit1=(ranks < 1).double().numpy(),
        hit5=(ranks < 5).double().numpy(),
        nll=-logs.gather(1, labels[:, None])[:, 0].numpy(),
        brier=((probabilities * probabilities).sum(1) - 2 * own + 1).numpy(),
        entropy=total.numpy(),
        mutual_information=None if members is None else (total - members).numpy(),
        member_top1=None if choice is None else (100 * (choice == labels).double().mean(1)).numpy(),
    )


@dataclass(frozen=True)
class Metric:
    """Describe a figure of a whole split.

    Attributes:
        heading: what tables call it.
        column: the column of `Answers` that it is the mean of, if it is one.
        scale: what the mean is multiplied by.
    """

    name: str
    heading: str
    unit: str
    digits: int
    column: str | None = None
    scale: float = 1.0


METRICS = (
    Metric("top1", "top1", "%", 2, "hit1", 100.0),
    Metric("top5", "top5", "%", 2, "hit5", 100.0),
    Metric("nll", "NLL", "nats", 4, "nll"),
    Metric("brier", "Brier", "", 4, "brier"),
    Metric("ece", "ECE", "%", 2, None, 100.0),
    Metric("adaptive_ece", "adapt.", "%", 2, None, 100.0),
    Metric("entropy", "entropy", "nats", 4, "entropy"),
    Metric("mutual_information", "mutual", "nats", 4, "mutual_information"),
)


def edges(bins: int) -> Numbers:
    """Return the inner borders of `bins` equal bins of confidence.

    A bin holds what is above its lower border, up to its upper.
    """
    return np.linspace(0, 1, bins + 1)[1:-1]


def bin_of(confidence: Numbers, bins: int) -> Whole:
    """Return in which of the `bins` equal bins each confidence lies (Guo et al. 2017)."""
    return np.searchsorted(edges(bins), confidence, side="left")


def equal_counts(count: int, bins: int) -> Whole:
    """Return the borders 0 ... count of at most `bins` groups of about equal size, larger ones first."""
    sizes = [len(group) for group in np.array_split(np.arange(count), min(bins, count))]
    return np.concatenate([[0], np.cumsum(sizes)])


def summary(answers: Answers, bins: int) -> dict[str, float | None]:
    """Compute every metric of `METRICS`, and `aurc`.

    `aurc` is the area under the curve of risk (share of errors) over coverage.
    """
    gap = answers.hit1 - answers.confidence
    order = np.argsort(answers.confidence, kind="stable")
    groups = np.add.reduceat(gap[order], equal_counts(len(answers), bins)[:-1])
    special = {
        "ece": np.abs(np.bincount(bin_of(answers.confidence, bins), weights=gap)).sum() / len(answers),
        "adaptive_ece": np.abs(groups).sum() / len(answers),
    }
    values: dict[str, float | None] = {}
    for metric in METRICS:
        column: Any = None if metric.column is None else getattr(answers, metric.column)
        value = special.get(metric.name, None if column is None else column.mean())
        values[metric.name] = None if value is None else metric.scale * float(value)
    return values | {"aurc": float(risk_coverage(answers)[1].mean())}


def risk_coverage(answers: Answers) -> tuple[Numbers, Numbers]:
    """Return coverage k/n and the share of errors among the k surest images, for k = 1 ... n.

    Images of equal confidence cannot be told apart: each counts as the mean error of all of them.
    """
    _, group, sizes = np.unique(-answers.confidence, return_inverse=True, return_counts=True)
    errors = np.bincount(group, weights=1 - answers.hit1) / sizes
    count = np.arange(1, len(answers) + 1)
    return count / len(answers), np.cumsum(np.repeat(errors, sizes)) / count


def by_class(answers: Answers, classes: int) -> list[dict[str, float]]:
    """Compute the figures of each class, a row each.

    Returns:
        `images`, `recall` (percent right of them), `chosen` (how often the class was the answer), `precision` (percent
        right of those; NaN where there are none), `confidence` (mean over its images).
    """
    images = np.bincount(answers.labels, minlength=classes)
    chosen = np.bincount(answers.chosen, minlength=classes)
    right = np.bincount(answers.labels, weights=answers.hit1, minlength=classes)
    sure = np.bincount(answers.labels, weights=answers.confidence, minlength=classes)
    with np.errstate(invalid="ignore"):
        recall, precision, confidence = 100 * right / images, 100 * right / chosen, sure / images
    columns = {"images": images, "recall": recall, "chosen": chosen, "precision": precision, "confidence": confidence}
    return [
        {"class": number, **{name: values[number].item() for name, values in columns.items()}}
        for number in range(classes)
    ]


def confusion(answers: Answers, classes: int) -> Whole:
    """Count how often class j was answered for an image of class i [classes, classes]."""
    pairs = np.bincount(answers.labels * classes + answers.chosen, minlength=classes * classes)
    return pairs.reshape(classes, classes)
