"""The loop over the rounds with a runner that trains next to nothing: are the records right?"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.run.rounds.round_loop import RoundOutcome
from pwfn.training.phase import Phase
from tests.support import oracles
from tests.support.runs.fake_loop import FRACTIONS, OPTIMIZER, FakeRunner, loop


@pytest.fixture(scope="module")
def finished() -> tuple[list[RoundOutcome], FakeRunner, list[str]]:
    made, runner, said = loop()
    return list(made.rounds()), runner, said


Finished = tuple[list[RoundOutcome], FakeRunner, list[str]]
N = 30 * 20 + 20 + 20 * 10 + 10


def test_rounds_epochs_steps_and_fractions(finished: Finished) -> None:
    records = [outcome.record for outcome in finished[0]]
    assert [r.round for r in records] == [0, 1, 2, 3]
    assert [r.fraction for r in records] == list(FRACTIONS)
    assert [r.epochs for r in records] == [0.5, 3.5, 6.5, 9.5]  # the first two epochs see a quarter of the images each
    assert [r.steps for r in records] == [120, 150, 180, 210]  # the runner began at 100, after a pretraining
    assert all(0.01 <= r.train_seconds < 10 and 0 < r.cluster_seconds < 10 for r in records)


def test_scores_are_taken_before_and_after_each_clustering(finished: Finished) -> None:
    outcomes, runner, said = finished
    assert len(runner.seen) == 8
    for i, outcome in enumerate(outcomes):
        assert (outcome.record.trained.top1, outcome.record.clustered.top1) == (2 * i + 1, 2 * i + 2)
        assert torch.equal(runner.seen[2 * i + 1].mu, outcome.result.mu)
        assert not torch.equal(runner.seen[2 * i].mu, outcome.result.mu)
    assert said == [word for i in range(4) for word in (f"round {i + 1}/4", "testing", "clustering", "testing")]


def test_counts_values_and_entropy_are_those_of_the_clustered_network(finished: Finished) -> None:
    outcomes, runner, _ = finished
    for i, outcome in enumerate(outcomes):
        record, result, after = outcome.record, outcome.result, runner.seen[2 * i + 1]
        mu, fixed = after.mu.tolist(), after.assignment >= 0
        assert int(fixed.sum()) == -(-round(10 * FRACTIONS[i]) * N // 10)
        assert record.codebook_size == len(result.codebook) == len(set(after.mu[fixed].tolist()))
        assert record.unique_weights == len(set(mu))
        assert record.entropy_bits == pytest.approx(oracles.entropy_bits(mu), rel=1e-12)
        orders = Counter(oracles.order_of(v, 7) for v in after.mu[fixed].tolist())
        assert record.order_share == pytest.approx([orders[n] / N for n in range(5)], rel=1e-12)
        assert sum(row["count"] for row in outcome.clusters) == int(fixed.sum())
        assert [row["value"] for row in outcome.clusters] == result.codebook.tolist()
        assert record.threshold == result.threshold
    last = outcomes[-1].record
    assert last.unique_weights == last.codebook_size < outcomes[0].record.unique_weights
    assert sum(last.order_share) == pytest.approx(1, rel=1e-12)
    assert bool((runner.seen[-1].assignment >= 0).all())


def test_sigmas_are_those_after_clustering(finished: Finished) -> None:
    outcomes, runner, _ = finished
    for i, outcome in enumerate(outcomes):
        sigma = sorted(runner.seen[2 * i + 1].sigma.double().tolist())
        assert outcome.record.sigma_mean == pytest.approx(sum(sigma) / N, rel=1e-9)
        assert outcome.record.sigma_median == sigma[(N - 1) // 2]
        assert outcome.record.sigma_max == sigma[-1]


def test_moved_counts_weights_that_change_centroid(finished: Finished) -> None:
    outcomes, runner, _ = finished
    moved = []
    for i in range(4):
        before, after = runner.seen[2 * i], runner.seen[2 * i + 1]
        pairs = zip(
            before.mu.tolist(), before.assignment.tolist(), after.mu.tolist(), after.assignment.tolist(), strict=True
        )
        moved.append(sum(a >= 0 and b >= 0 and v != w for v, a, w, b in pairs))
    assert [outcome.record.moved for outcome in outcomes] == moved
    assert moved[0] == 0
    assert sum(moved) > 0


def test_the_threshold_of_each_round_is_the_greedy_one_times_powers_of_inc(finished: Finished) -> None:
    for outcome, start in zip(finished[0], (1.0, 1.5, 2.0, 2.5), strict=True):
        factor = outcome.record.threshold / start
        assert factor in [2.0**j for j in range(40)]


def test_joint_phases(finished: Finished) -> None:
    shares, epochs = (0.25, 1.0, 1.0, 1.0), (2, 3, 3, 3)
    assert finished[1].phases == [
        Phase(f"round {i + 1}/4", epochs[i], OPTIMIZER, shares[i], noise=True, train_mu=True, train_sigma=True)
        for i in range(4)
    ]


def test_alternate_rounds_train_mu_without_noise_then_sigma() -> None:
    made, runner, said = loop("alternate")
    outcomes = list(made.rounds())
    assert [o.record.epochs for o in outcomes] == [1, 7, 13, 19]
    assert [o.record.steps for o in outcomes] == [140, 200, 260, 320]
    assert runner.phases[:2] == [
        Phase("round 1/4 mu", 2, OPTIMIZER, 0.25, noise=False, train_mu=True, train_sigma=False),
        Phase("round 1/4 sigma", 2, OPTIMIZER, 0.25, noise=True, train_mu=False, train_sigma=True, train_others=False),
    ]
    assert [p.label for p in runner.phases[2:4]] == ["round 2/4 mu", "round 2/4 sigma"]
    assert said[:5] == ["round 1/4 mu", "round 1/4 sigma", "testing", "clustering", "testing"]


def test_rounds_come_one_by_one() -> None:
    made, runner, _ = loop()
    rounds = made.rounds()
    first = next(rounds)
    assert first.record.round == 0
    assert len(runner.phases) == 1
    assert len(runner.seen) == 2


def test_a_fixed_weight_that_training_moved_stops_the_run() -> None:
    made, runner, _ = loop(shake_fixed=True)
    rounds = made.rounds()
    next(rounds)
    with pytest.raises(RuntimeError, match=r"fixed weights of 0\.weight moved during training"):
        next(rounds)
    assert len(runner.seen) == 2


def test_the_last_round_leaves_only_codebook_values(finished: Finished) -> None:
    outcomes, runner, _ = finished
    final: Tensor = quantized_tensors(runner.network)[0].mu
    assert set(final.flatten().tolist()) <= set(outcomes[-1].result.codebook.tolist())
