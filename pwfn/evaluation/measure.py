"""Measure every network of a subject in every mode, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from pwfn.evaluation.bootstrap import bootstrap, interval
from pwfn.evaluation.metrics import METRICS, Answers, judge, summary
from pwfn.evaluation.predict import LabeledImages, Prediction, logits, predict, predict_draws
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.evaluation.subject import Subject
from pwfn.models.accuracy import RunningScores
from pwfn.models.precision import Computing
from pwfn.records.rounds import Scores

Say = Callable[[str], None]
MEAN, SAMPLE, ENSEMBLE = "mean", "sample", "ensemble"


@dataclass(frozen=True)
class Setup:
    """Hold what all measurements of an evaluation work with; `say` shows what goes on."""

    settings: EvaluateSettings
    subject: Subject
    images: LabeledImages
    on: Computing
    say: Say = lambda _: None

    @classmethod
    def of(cls, settings: EvaluateSettings, subject: Subject, say: Say = lambda _: None) -> Setup:
        """Read the labels of the test images and choose the device.

        Args:
            settings: What to measure, and on which device.
            subject: The networks and their data.
            say: Shows what goes on, a line each.
        """
        images = LabeledImages(subject.data.test_dataloader())
        return cls(settings, subject, images, computing(settings, subject), say)

    def network(self, name: str) -> nn.Module:
        """Build one of the subject's networks on the device, in evaluation mode."""
        return self.subject.networks[name]().to(self.on.device).eval()


@dataclass(frozen=True)
class Row:
    """Hold the figures of one network in one mode.

    `figures` are the metrics of `metrics.METRICS` and aurc; `intervals` are those of the metrics.
    """

    network: str
    mode: str
    answers: Answers
    figures: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]

    def flat(self) -> dict[str, Any]:
        """Return the row of evaluation.json."""
        members = self.answers.member_top1
        of_members = {} if members is None else {"top1_of_members": members.tolist()}
        return {"network": self.network, "mode": self.mode, **self.figures, "intervals": self.intervals, **of_members}


@dataclass(frozen=True)
class Change:
    """Hold how much a metric of one network at its mean weights is above that of the network `before`."""

    network: str
    before: str
    metric: str
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """Hold all figures of a subject.

    `at_mean` are the scores at the mean weights, counted exactly as a run counts them.
    """

    rows: list[Row]
    changes: list[Change]
    at_mean: dict[str, Scores]  # counted exactly as a run counts
    images: int

    def row(self, network: str, mode: str) -> Row:
        """Return the row of one network in one mode."""
        return next(row for row in self.rows if (row.network, row.mode) == (network, mode))


def computing(settings: EvaluateSettings, subject: Subject) -> Computing:
    """Choose the run's precision on the device of the settings.

    A precision that the device cannot compute in is replaced, which is noted down.
    """
    gpu = settings.device == "gpu" or (settings.device == "auto" and torch.cuda.is_available())
    precision = subject.precision
    if precision == "16-mixed" and not gpu:
        precision = "32-true"
        subject.notes.append("The run computed in 16-mixed, which the CPU cannot: measured in 32-true.")
    return Computing(torch.device("cuda" if gpu else "cpu"), precision)


def measure(setup: Setup) -> Measured:
    """Predict, then hold the predictions against the labels, which no predictor is given."""
    settings, images, on = setup.settings, setup.images, setup.on
    answers: dict[tuple[str, str], Answers] = {}
    at_mean: dict[str, Scores] = {}
    for name in setup.subject.networks:
        network = setup.network(name)
        setup.say(f"{name}: at the mean weights")
        prediction, at_mean[name] = at_the_mean(network, images, on)
        answers[name, MEAN] = judge(prediction, torch.cat(images.labels))
        if name in setup.subject.learned and settings.samples:
            first, together = predict_draws(
                network,
                images,
                on,
                samples=settings.samples,
                seed=settings.seed,
                on_draw=partial(_say_draw, setup.say, name, settings.samples),
            )
            answers[name, SAMPLE] = judge(first, torch.cat(images.labels))
            answers[name, ENSEMBLE] = judge(together, torch.cat(images.labels))
    setup.say("resampling the test images")
    return _summed_up(settings, answers, at_mean)


def at_the_mean(network: nn.Module, images: LabeledImages, on: Computing) -> tuple[Prediction, Scores]:
    """Predict, and count the scores batch by batch as a run does: the same to the last bit.

    Args:
        network: at its mean weights.
        images: the labeled test images.
        on: device and precision.
    """
    labels, running = iter(images.labels), RunningScores().to(on.device)
    prediction = predict(network, images, on, lambda batch: running.update(batch, next(labels).to(on.device)))
    return prediction, running.scores()


def scores_of(network: nn.Module, images: LabeledImages, on: Computing) -> Scores:
    """Return the scores of the weights that the network has now.

    Args:
        network: put into evaluation mode.
        images: the labeled test images.
        on: device and precision.
    """
    running = RunningScores().to(on.device)
    for labels, batch in zip(images.labels, logits(network, images, on), strict=True):
        running.update(batch, labels.to(on.device))
    return running.scores()


def _say_draw(say: Say, name: str, samples: int, draw: int) -> None:
    say(f"{name}: draw {draw + 1} of {samples}")


def _summed_up(
    settings: EvaluateSettings, answers: dict[tuple[str, str], Answers], at_mean: dict[str, Scores]
) -> Measured:
    resampled = {}
    if settings.resamples:
        named = {f"{network} {mode}": one for (network, mode), one in answers.items()}
        resampled = bootstrap(named, resamples=settings.resamples, seed=settings.seed, bins=settings.bins)
    rows = [
        Row(
            network,
            mode,
            one,
            summary(one, settings.bins),
            {metric: interval(values) for metric, values in resampled.get(f"{network} {mode}", {}).items()},
        )
        for (network, mode), one in answers.items()
    ]
    return Measured(rows, list(_changes(rows, resampled)), at_mean, len(rows[0].answers))


def _changes(rows: list[Row], resampled: dict[str, Any]) -> Iterator[Change]:
    """Compare with the first network, at the mean weights, on the same resampled images."""
    at_mean = [row for row in rows if row.mode == MEAN]
    first = at_mean[0]
    for row in at_mean[1:] if resampled else ():
        for metric in METRICS:
            before, after = first.figures[metric.name], row.figures[metric.name]
            if before is not None and after is not None:
                both = [resampled[f"{one.network} {MEAN}"][metric.name] for one in (row, first)]
                yield Change(row.network, first.network, metric.name, after - before, interval(both[0] - both[1]))
