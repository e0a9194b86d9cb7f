"""Two processes that talk over gloo: one decides, both end with the same bits, nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors, set_sigma, to_bayesian
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.clustering import rules, statistics
from pwfn.clustering.codebooks.codebook import AdditivePow2, Codebook
from pwfn.clustering.codebooks.fitted_codebook import KMeans
from pwfn.clustering.rules import Greedy
from pwfn.clustering.sigma_join import std_mu
from pwfn.records.rounds import Scores
from pwfn.run.rounds.round_loop import RoundLoop
from pwfn.run.rounds.schedule import Schedule
from pwfn.training import distributed
from pwfn.training.optimizer import SGD
from pwfn.training.phase import Phase, TrainingDiverged
from tests.support.ranks import leave_together
from tests.support.runs.fake_loop import FakeRunner

BACKENDS = ("gloo", "cuda:gloo")  # the second cannot send CPU tensors, as NCCL cannot: GPUs train, the CPU clusters
CODEBOOKS: tuple[Codebook, ...] = (AdditivePow2(), KMeans(6, scope="tensor"))  # one with each
FRACTIONS = (0.3, 0.7, 1.0)
WORK = {  # what only the rank that decides may do in a round
    "flatten": (FlatWeights, "of"),
    "cluster": (rules, "cluster_round"),
    "describe": (statistics, "cluster_rows"),
    "count": (statistics, "values_of_tensors"),
}


@dataclass
class Runner(FakeRunner):
    """Trains each rank's weights by noise of its own, so that the ranks come apart, and has scores of its own."""

    apart: list[list[float]] = field(default_factory=list)

    def fit(self, phase: Phase) -> None:
        super().fit(phase)
        self.apart.append(self.network[3].weight.flatten().tolist())

    def test(self) -> Scores:
        return Scores(top1=torch.rand(()).item(), top5=0.0, loss=0.0)


def bayesian(rank: int) -> nn.Module:
    """Ranks disagree about everything: weights, sigmas, statistics. Only the first layer's memory is channels last."""
    torch.manual_seed(rank)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 10))
    network[0].to(memory_format=torch.channels_last)
    network[1].running_mean.normal_()
    to_bayesian(network)
    set_sigma(network, Pow2DistancePrior())
    return network


def loop(network: nn.Module, codebook: Codebook) -> RoundLoop:
    return RoundLoop(
        Runner(network),
        network,
        Schedule(FRACTIONS, first_epochs=1, first_share=1.0, rest_epochs=1),
        Greedy(start=1.0, end=1.0, inc=2.0),
        codebook,
        std_mu,
        SGD(lr=0.1),
    )


@contextmanager
def watched(done: dict[str, int]) -> Iterator[None]:
    """Count in `done` how often each part of `WORK` is called."""
    with pytest.MonkeyPatch.context() as patch:
        for what, (owner, name) in WORK.items():
            plain = getattr(owner, name)

            def counting(*args: Any, _what: str = what, _plain: Any = plain, **options: Any) -> Any:
                done[_what] += 1
                return _plain(*args, **options)

            patch.setattr(owner, name, counting)
        yield


def quantized_state(network: nn.Module) -> list[dict[str, Tensor]]:
    return [
        {"mu": t.mu.detach(), "sigma": t.gaussian.sigma.detach(), "assignment": t.gaussian.assignment}
        for t in quantized_tensors(network)
    ]


def whole_run(rank: int, codebook: Codebook) -> dict[str, Any]:
    """All rounds; what was done and what came of it, round by round."""
    network, done = bayesian(rank), dict.fromkeys(WORK, 0)
    made, rounds = loop(network, codebook), []
    with watched(done):
        for outcome in made.rounds():
            state = [{name: t.clone() for name, t in one.items()} for one in quantized_state(network)]
            result = [getattr(outcome.result, name) for name in ("mu", "sigma", "assignment", "codebook")]
            rounds.append((outcome.record, outcome.clusters, outcome.result.threshold, result, state))
    distributed.broadcast_statistics(network)
    return {
        "done": done,
        "apart": made.runner.apart,
        "rounds": rounds,
        "statistics": network[1].running_mean,
        "values": made.place.values,
    }


def refusal(rank: int) -> str:
    """What a rank says if rank 0, and only rank 0, has weights that cannot be clustered."""
    network = bayesian(rank)
    if rank == 0:
        with torch.no_grad():
            quantized_tensors(network)[0].mu.fill_(float("nan"))
    with pytest.raises(TrainingDiverged) as error:
        list(loop(network, AdditivePow2()).rounds())
    return str(error.value)


def rank_main(rank: int, folder: str) -> None:
    for number, backend in enumerate(BACKENDS):
        dist.init_process_group(backend, init_method=f"file://{folder}/meet{number}", rank=rank, world_size=2)
        if backend != "gloo":
            with pytest.raises(RuntimeError, match="backend type"):
                dist.broadcast(torch.zeros(1), 0)
        torch.save({"refusal": refusal(rank), **whole_run(rank, CODEBOOKS[number])}, f"{folder}/{number}_{rank}.pt")
        dist.barrier(
            group=distributed._cpu_group(dist.group.WORLD)
        )  # who leaves first would end what the other still hears
        dist.destroy_process_group()
    leave_together(folder, rank)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(rank_main, (str(folder),), nprocs=2)
    return folder


@pytest.fixture(scope="module", params=range(len(BACKENDS)), ids=BACKENDS)
def reports(request: pytest.FixtureRequest, folder: Path) -> list[dict[str, Any]]:
    """What both ranks saw."""
    return [torch.load(folder / f"{request.param}_{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.mark.slow
def test_ranks_end_every_round_with_the_same_bits(reports: list[dict[str, Any]]) -> None:
    first, second = (report["rounds"] for report in reports)
    assert len(first) == len(second) == len(FRACTIONS)
    for (_, _, k, result, state), (_, _, other_k, other_result, other_state) in zip(first, second, strict=True):
        assert k == other_k
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(result, other_result, strict=True))
        assert len(state) == len(other_state) == 4
        for one, other in zip(state, other_state, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)
        assert torch.equal(torch.cat([one["mu"].flatten() for one in other_state]), other_result[0])
    assert [record for record, *_ in first] == [record for record, *_ in second]
    assert [rows for _, rows, *_ in first] == [rows for _, rows, *_ in second]
    assert reports[0]["values"] == reports[1]["values"] is not None
    assert torch.equal(reports[0]["statistics"], reports[1]["statistics"])
    # they had come apart before every clustering
    assert all(a != b for a, b in zip(reports[0]["apart"], reports[1]["apart"], strict=True))


@pytest.mark.slow
def test_only_rank_0_flattens_clusters_and_describes(reports: list[dict[str, Any]]) -> None:
    assert reports[0]["done"] == dict.fromkeys(WORK, len(FRACTIONS))
    assert reports[1]["done"] == dict.fromkeys(WORK, 0)


@pytest.mark.slow
def test_weights_that_cannot_be_clustered_end_every_rank_in_the_same_words(reports: list[dict[str, Any]]) -> None:
    assert reports[0]["refusal"] == reports[1]["refusal"]
    assert "cannot be clustered in round 1/3: mu must be finite" in reports[0]["refusal"]


def test_one_process_agrees_with_itself() -> None:
    value, tensors = {"a": 1}, [torch.ones(3), torch.zeros(2, dtype=torch.int32)]
    assert distributed.is_rank_zero()
    assert not distributed.is_distributed()
    assert distributed.broadcast_object(value) is value
    assert all(a is b for a, b in zip(distributed.broadcast_tensors(tensors), tensors, strict=True))
