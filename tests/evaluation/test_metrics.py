"""Every figure of an evaluation against scikit-learn, scipy, torchmetrics and loops over single images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_score, recall_score
from torchmetrics.functional.classification import multiclass_calibration_error

from pwfn.evaluation.bootstrap import bootstrap, interval
from pwfn.evaluation.metrics import by_class, confusion, judge, risk_coverage, summary
from pwfn.evaluation.predict import Prediction, first_choice
from pwfn.evaluation.predict import entropy as predictive_entropy

CLASSES, IMAGES, BINS = 7, 401, 15


def probabilities(seed: int = 0, count: int = IMAGES) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(count, CLASSES, generator=generator, dtype=torch.float64)).softmax(1)


def labels(count: int = IMAGES) -> torch.Tensor:
    """Mostly the likeliest class of `probabilities()`, so that confidence means something."""
    drawn = torch.multinomial(probabilities(0, count), 1, generator=torch.Generator().manual_seed(5))
    return drawn[:, 0]


def test_figures_of_one_network() -> None:
    p, y = probabilities(), labels()
    figures = summary(judge(Prediction(p.log()), y), BINS)
    assert figures["top1"] == pytest.approx(100 * accuracy_score(y, p.argmax(1)), rel=1e-12)
    assert figures["nll"] == pytest.approx(log_loss(y, p.numpy(), labels=range(CLASSES)), rel=1e-12)
    assert figures["entropy"] == pytest.approx(entropy(p.numpy(), axis=1).mean(), rel=1e-12)
    naive = [sum((p[i, c].item() - int(c == y[i])) ** 2 for c in range(CLASSES)) for i in range(IMAGES)]
    assert figures["brier"] == pytest.approx(np.mean(naive), rel=1e-12)
    ece = multiclass_calibration_error(p, y, num_classes=CLASSES, n_bins=BINS, norm="l1")
    assert figures["ece"] == pytest.approx(100 * ece.item(), rel=1e-5)  # torchmetrics sums in float32
    assert figures["mutual_information"] is None


def test_confidences_on_a_border_belong_to_the_bin_below() -> None:
    """Guo et al. (2017): a bin is what is above its lower border, up to its upper one."""
    sure = torch.tensor([[1.0, 0.0], [0.99, 0.01], [0.5, 0.5]], dtype=torch.float64)
    y = torch.tensor([0, 1, 0])
    by_hand = 100 * (abs((1 - 1.0) + (0 - 0.99)) + abs(1 - 0.5)) / 3  # 1 and 0.99 share a bin, 0.5 has its own
    assert summary(judge(Prediction(sure.log()), y), 2)["ece"] == pytest.approx(by_hand, rel=1e-12)


def test_adaptive_calibration_error_is_that_of_a_loop() -> None:
    p, y = probabilities(), labels()
    order = sorted(range(IMAGES), key=lambda i: p[i].max().item())
    total = 0.0
    for group in np.array_split(np.array(order), BINS):
        hits = np.mean([p[i].argmax().item() == y[i] for i in group])
        sure = np.mean([p[i].max().item() for i in group])
        total += len(group) / IMAGES * abs(hits - sure)
    assert summary(judge(Prediction(p.log()), y), BINS)["adaptive_ece"] == pytest.approx(100 * total, rel=1e-12)
    few = judge(Prediction(p[:4].log()), y[:4])  # fewer images than bins: each is its own
    each = [abs(float(p[i].argmax() == y[i]) - p[i].max().item()) for i in range(4)]
    assert summary(few, BINS)["adaptive_ece"] == pytest.approx(100 * np.mean(each), rel=1e-12)


def test_mutual_information_is_what_the_members_disagree_about() -> None:
    members = [probabilities(seed) for seed in range(3)]
    together = torch.stack(members).mean(0)
    own = torch.stack([predictive_entropy(member.log()) for member in members]).mean(0)
    choice = torch.stack([first_choice(member.log()) for member in members])
    answers = judge(Prediction(together.log(), own, choice), labels())
    # the mean Kullback-Leibler divergence of a member from the ensemble
    expected = np.mean([entropy(member.numpy(), together.numpy(), axis=1) for member in members], axis=0)
    np.testing.assert_allclose(answers.mutual_information, expected, rtol=1e-9)
    assert answers.member_top1.tolist() == pytest.approx(
        [100 * accuracy_score(labels(), member.argmax(1)) for member in members]
    )


def test_classes_and_confusions() -> None:
    p, y = probabilities(), labels()
    answers = judge(Prediction(p.log()), y)
    rows, said = by_class(answers, CLASSES), p.argmax(1)
    assert [row["recall"] for row in rows] == pytest.approx(100 * recall_score(y, said, average=None))
    assert [row["precision"] for row in rows] == pytest.approx(100 * precision_score(y, said, average=None))
    assert [row["images"] for row in rows] == np.bincount(y).tolist()
    assert np.array_equal(confusion(answers, CLASSES), confusion_matrix(y, said))
    assert rows[3]["confidence"] == pytest.approx(np.mean([p[i].max().item() for i in range(IMAGES) if y[i] == 3]))


def test_risk_over_coverage_by_hand() -> None:
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.7, 0.3]], dtype=torch.float64)
    answers = judge(Prediction(p.log()), torch.tensor([0, 1, 0, 1]))
    coverage, risk = risk_coverage(answers)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk == pytest.approx(
        [0, 0.5 / 2, 1 / 3, 2 / 4]
    )  # of the two equally sure, one is wrong: half an error each
    assert summary(answers, BINS)["aurc"] == pytest.approx(np.mean([0, 0.25, 1 / 3, 0.5]))


def test_intervals_are_the_quantiles_of_the_figures_of_resampled_images() -> None:
    p, y = probabilities(), labels()
    other = judge(Prediction(probabilities(1).log()), y)
    values = bootstrap({"one": judge(Prediction(p.log()), y), "other": other}, resamples=100, seed=3, bins=BINS)
    rng = np.random.default_rng(3)
    for number in range(100):
        chosen = torch.from_numpy(rng.integers(IMAGES, size=IMAGES))
        expected = summary(judge(Prediction(p[chosen].log()), y[chosen]), BINS)
        for name, found in values["one"].items():
            if name != "adaptive_ece":
                assert found[number] == pytest.approx(expected[name], rel=1e-10), name
        # among equal confidences the images of a resampled split come in another order
        stable = chosen[torch.argsort(chosen, stable=True)]
        expected = summary(judge(Prediction(p[stable].log()), y[stable]), BINS)
        assert values["one"]["adaptive_ece"][number] == pytest.approx(expected["adaptive_ece"], rel=1e-10)
    assert interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
    assert values["other"]["top1"].mean() == pytest.approx(summary(other, BINS)["top1"], abs=1.0)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """200 splits of 100 images from a network that is right 80 % of the time."""
    rng = np.random.default_rng(0)
    covered = 0
    for number in range(200):
        y = torch.zeros(100, dtype=torch.int64)
        p = torch.where(
            torch.from_numpy(rng.random(100) < 0.8)[:, None], torch.tensor([0.9, 0.1]), torch.tensor([0.2, 0.8])
        )
        answers = judge(Prediction(p.double().log()), y)
        low, high = interval(bootstrap({"x": answers}, resamples=200, seed=number, bins=BINS)["x"]["top1"])
        covered += low <= 80 <= high
    assert 0.90 <= covered / 200 <= 0.99
