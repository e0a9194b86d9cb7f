"""Rounds that count in tolerances: how far weights move, and what a run without noise leaves of sigma."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.clustering.tolerance import ConstantTolerance, SigmaTolerance, Tolerance
from pwfn.training.phase import TrainingDiverged
from tests.support.evaluation import measured
from tests.support.runs.fake_loop import loop
from tests.support.tolerances import RULES

BOOK = [1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 16, 17, 18, 20, 24]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_no_weight_moves_further_than_the_threshold_in_tolerances(rule: Tolerance) -> None:
    made, runner, _ = loop()
    made = replace(made, tolerance=rule)
    gradients = []
    default = runner.squared_gradients

    def watched(batches: int) -> Tensor:
        gradients.append(default(batches))
        return gradients[-1].clone()

    runner.squared_gradients = watched  # type: ignore[method-assign]
    outcomes = list(made.rounds())
    assert len(gradients) == (4 if rule.sees_images else 0)
    for i, outcome in enumerate(outcomes):
        before, after = runner.seen[2 * i], runner.seen[2 * i + 1]
        allowed = outcome.record.threshold * rule(before.mu, before.sigma, lambda _, i=i: gradients[i]).clamp(
            min=2.0**-20
        )
        moved = (after.mu - before.mu).abs()
        tiny = before.mu.abs() < 2.0**-7  # zero_fix
        assert (moved <= allowed * (1 + 1e-6))[~tiny].all()
        assert (moved > allowed / 4)[~tiny].any()  # and the rule is what held them
    assert outcomes[-1].record.fraction == 1.0
    assert (runner.seen[-1].assignment >= 0).all()


def test_the_loop_gives_the_same_bits_with_sigma_named_as_without() -> None:
    codebooks = []
    for rule in (None, SigmaTolerance(), ConstantTolerance(0.004)):
        made, runner, _ = loop()
        list((made if rule is None else replace(made, tolerance=rule)).rounds())
        codebooks.append(runner.seen[-1])
    default, named, other = codebooks
    assert torch.equal(default.mu, named.mu)
    assert torch.equal(default.sigma, named.sigma)
    assert not torch.equal(default.mu, other.mu)


def test_the_default_gives_the_codebooks_that_it_gave_before_there_was_a_choice() -> None:
    """In steps of 2^-7, of four seeded rounds with a shake of the free weights in between: recorded once."""
    made, _, _ = loop()
    outcomes = list(made.rounds())
    assert [outcome.record.threshold for outcome in outcomes] == [2, 3, 4, 320]
    assert [(outcome.result.codebook * 128).int().tolist() for outcome in outcomes] == [
        mirrored(BOOK),
        mirrored(BOOK),
        mirrored([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20, 22, 24, 26], [-28]),
        mirrored([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 24, 28], [-22, -13, -7, 25, 29, 32]),
    ]


def mirrored(positive: list[int], others: Sequence[int] = ()) -> list[int]:
    return sorted([*positive, *(-n for n in positive), 0, *others])


def test_without_noise_sigma_is_not_trained() -> None:
    made, runner, _ = loop()
    list(replace(made, noise=False).rounds())
    assert all((p.noise, p.train_mu, p.train_sigma) == (False, True, False) for p in runner.phases)


def test_a_tolerance_that_cannot_be_made_ends_the_round_in_one_line() -> None:
    made, runner, _ = loop()
    runner.squared_gradients = lambda _: torch.zeros(830)  # type: ignore[method-assign]
    with pytest.raises(TrainingDiverged, match="cannot be clustered in round 1/4: no weight has a gradient"):
        list(replace(made, tolerance=RULES[3]).rounds())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "noise"), [("fisher", True), ("constant", False), ("relative", True), ("sigma", False)]
)
def test_one_shot_trains_nothing_at_all(
    rule: str,
    noise: bool,
    small_run: Any,
    tmp_path: Path,
) -> None:
    overrides = ("schedule=one_shot", "schedule.fractions=[1.0]", f"tolerance={rule}", f"noise={noise}")
    done = small_run(tmp_path, *overrides, "pretrain.epochs=0", "pretrain.optimizer.lr=0.01")
    (record,) = done.records
    assert (record.steps, record.epochs, record.fraction) == (0, 0.0, 1.0)
    assert record.trained == done.baseline
    assert record.unique_weights == record.codebook_size < 200
    tensors = quantized_tensors(done.network)
    assert all((t.gaussian.assignment >= 0).all() for t in tensors)
    evaluated = measured(run=str(tmp_path), samples=2)
    assert evaluated.at_mean["clustered"] == record.clustered
    drawn = {row.network for row in evaluated.rows if row.mode == "ensemble"}
    assert drawn == set()  # noise or not, no round trained a sigma
    notes = json.loads((tmp_path / "evaluation/evaluation.json").read_text())["notes"]
    assert any("no sigma was learned" in note for note in notes)
