"""The loop of a whole run: train, test, cluster, test, record, until every weight is a codebook entry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from pwfn import stats
from pwfn.clustering import ClusterResult
from pwfn.codebook import AdditivePow2
from pwfn.faults import Stopped
from pwfn.module import BayesianClassifier, Phase, TrainingDiverged
from pwfn.network import FlatWeights, check_fixed, cluster_network, share_statistics
from pwfn.optimizer import OptimizerSpec
from pwfn.posterior import FREE, quantised_tensors
from pwfn.prior import MIN_SIGMA
from pwfn.record import RoundRecord, Scores
from pwfn.schedule import Greedy, Schedule
from pwfn.sigma_join import SigmaJoin


class Runner(Protocol):
    """What the loop needs of a trainer; the tests have one that trains nothing."""

    @property
    def steps(self) -> int: ...
    def fit(self, phase: Phase) -> None: ...
    def test(self) -> Scores: ...


class LightningRunner:
    """One Trainer, one fit per phase: a fresh optimizer each time, epochs and steps that count on."""

    def __init__(self, trainer: Trainer, module: BayesianClassifier, data: LightningDataModule) -> None:
        self.trainer, self.module, self.data = trainer, module, data

    @property
    def steps(self) -> int:
        return self.trainer.global_step

    def fit(self, phase: Phase) -> None:
        if phase.epochs == 0:
            return
        self.module.begin(phase)
        self.data.train_share = phase.share  # type: ignore[attr-defined]
        self.trainer.fit_loop.max_epochs = self.trainer.current_epoch + phase.epochs
        self._call(self.trainer.fit)
        share_statistics(self.module.network)

    def test(self) -> Scores:
        """Scores on the test split, at the mean weights."""
        self._call(self.trainer.test, verbose=False)
        if self.module.scores is None:
            raise RuntimeError("the test split was not run")
        return self.module.scores

    def _call(self, part: Callable[..., Any], **options: Any) -> None:
        """Lightning ends the program by itself after a signal, after SIGTERM even as if all had gone well."""
        try:
            part(self.module, datamodule=self.data, **options)
        except SIGTERMException:
            raise Stopped("SIGTERM", 143) from None
        except SystemExit:
            if not self.trainer.interrupted:
                raise
            raise Stopped("Ctrl-C", 130) from None


@dataclass(frozen=True)
class RoundOutcome:
    """A finished round: its record, the rows of clusters.csv, and the clustering itself."""

    record: RoundRecord
    clusters: list[dict[str, Any]]
    result: ClusterResult


@dataclass(frozen=True)
class RoundLoop:
    """The method's loop over the rounds of `schedule`, on a Bayesian network whose sigmas have been set."""

    runner: Runner
    network: nn.Module
    schedule: Schedule
    clustering: Greedy
    codebook: AdditivePow2
    sigma_join: SigmaJoin
    optimizer: OptimizerSpec
    on_phase: Callable[[Phase], None] = lambda phase: None
    on_status: Callable[[str], None] = lambda text: None

    def rounds(self) -> Iterator[RoundOutcome]:
        """Run the rounds one by one; after the last, every quantised weight is a codebook entry."""
        epochs = 0.0
        entries: Tensor | None = None
        for index in range(self.schedule.rounds):
            started = time.perf_counter()
            for phase in self.phases(index):
                self.on_phase(phase)
                self.runner.fit(phase)
                epochs += phase.epochs * phase.share
            if entries is not None and self.schedule.epochs(index):
                check_fixed(quantised_tensors(self.network), entries)
            train_seconds = time.perf_counter() - started
            outcome = self._cluster(index, epochs=epochs, train_seconds=train_seconds)
            entries = outcome.result.codebook
            yield outcome

    def phases(self, index: int) -> list[Phase]:
        """The fits of one round."""
        label = f"round {index + 1}/{self.schedule.rounds}"
        share = self.schedule.share(index)
        epochs = self.schedule.epochs(index)
        if self.schedule.training == "joint":
            return [Phase(label, epochs, self.optimizer, share)]
        return [
            Phase(f"{label} mu", epochs, self.optimizer, share, noise=False, train_sigma=False),
            Phase(f"{label} sigma", epochs, self.optimizer, share, train_mu=False),
        ]

    def _cluster(self, index: int, *, epochs: float, train_seconds: float) -> RoundOutcome:
        tensors = quantised_tensors(self.network)
        self.on_status("testing")
        trained = self.runner.test()
        self.on_status("clustering")
        started = time.perf_counter()
        before = FlatWeights.of(tensors)
        fraction = self.schedule.fractions[index]
        try:
            result = cluster_network(
                tensors,
                before,
                fraction=fraction,
                threshold=self.clustering.threshold(index, self.schedule.rounds),
                inc=self.clustering.inc,
                zero_fix=self.clustering.zero_fix,
                codebook=self.codebook,
                sigma_join=self.sigma_join,
            )
        except ValueError as error:
            advice = "; try a smaller optimizer.lr" if self.schedule.epochs(index) else ""
            raise TrainingDiverged(
                f"the weights cannot be clustered in round {index + 1}/{self.schedule.rounds}: {error}{advice}"
            ) from error
        cluster_seconds = time.perf_counter() - started
        sigma = result.sigma.clamp(min=MIN_SIGMA)
        self.on_status("testing")
        clustered = self.runner.test()
        values, counts = stats.network_values(result.mu, result.assignment, result.codebook)
        rows = stats.cluster_rows(before.mu, before.sigma, result.assignment, result.codebook, self.codebook.b)
        record = RoundRecord(
            round=index,
            fraction=fraction,
            epochs=epochs,
            steps=self.runner.steps,
            codebook_size=result.codebook.numel(),
            unique_weights=values.numel(),
            entropy_bits=stats.entropy_bits(counts),
            trained=trained,
            clustered=clustered,
            threshold=result.threshold,
            order_share=stats.order_shares(rows, before.mu.numel()),
            sigma_mean=sigma.double().mean().item(),
            sigma_median=sigma.median().item(),
            sigma_max=sigma.max().item(),
            moved=_moved(before, result),
            train_seconds=train_seconds,
            cluster_seconds=cluster_seconds,
        )
        return RoundOutcome(record, rows, result)


def _moved(before: FlatWeights, result: ClusterResult) -> int:
    """How many weights were fixed before, are fixed now, and sit on another centroid."""
    both = (before.assignment != FREE) & (result.assignment != FREE)
    return int((both & (before.mu != result.mu)).sum())
