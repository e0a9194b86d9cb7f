"""The loop of a whole run: train, test, cluster, test, record, until every weight is a codebook entry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from pwfn import stats
from pwfn.clustering import ClusterResult
from pwfn.codebook import AdditivePow2
from pwfn.data.module import ImageDataModule
from pwfn.faults import Stopped
from pwfn.module import BayesianClassifier, Phase, TrainingDiverged
from pwfn.network import FlatWeights, check_fixed, cluster_network
from pwfn.optimizer import OptimizerSpec
from pwfn.posterior import FREE, QuantisedTensor, quantised_tensors
from pwfn.prior import MIN_SIGMA
from pwfn.ranks import agree, check_same, is_first, share_statistics
from pwfn.record import RoundRecord, Scores
from pwfn.run_state import Place
from pwfn.saver import Saver
from pwfn.schedule import Greedy, Schedule
from pwfn.sensitivity import squared_gradients
from pwfn.sigma_join import SigmaJoin
from pwfn.tolerance import Sigma, Tolerance


class Runner(Protocol):
    """What the loop needs of a trainer; the tests have one that trains nothing."""

    @property
    def steps(self) -> int: ...
    def fit(self, phase: Phase) -> None: ...
    def test(self) -> Scores: ...
    def squared_gradients(self, batches: int) -> Tensor: ...


class LightningRunner:
    """One Trainer, one fit per phase: a fresh optimizer each time, epochs and steps that count on."""

    def __init__(
        self, trainer: Trainer, module: BayesianClassifier, data: ImageDataModule, saver: Saver | None = None
    ) -> None:
        self.trainer, self.module, self.data, self.saver = trainer, module, data, saver

    @property
    def steps(self) -> int:
        return self.trainer.global_step

    def fit(self, phase: Phase) -> None:
        if phase.epochs == 0:
            return
        first = self.trainer.current_epoch if self.saver is None else self.saver.begin_fit()
        if self.trainer.current_epoch < first + phase.epochs:  # a resumed fit may have been at its end
            self.module.begin(phase)
            self.data.train_share = phase.share
            self.data.batches_done = 0 if self.saver is None else self.saver.batches_done
            self.trainer.fit_loop.max_epochs = first + phase.epochs
            self._call(self.trainer.fit)
            share_statistics(self.module.network)
            # at once: testing, clustering and the next fit begin by giving every rank what rank 0 has
            check_same(self.module.network, f"after the training of {phase.label}")
        if self.saver is not None:
            self.saver.end_fit()

    def test(self) -> Scores:
        """Scores on the test split, at the mean weights."""
        self._call(self.trainer.test, verbose=False)
        if self.module.scores is None:
            raise RuntimeError("the test split was not run")
        return self.module.scores

    def squared_gradients(self, batches: int) -> Tensor:
        """Those of each quantised weight over as many batches of this rank's training images, on the CPU."""
        with self._placed() as device:
            loaded = ((images.to(device), labels.to(device)) for images, labels in self.data.batches_outside_fits())
            return squared_gradients(self.module.network, loaded, batches).cpu()

    @contextmanager
    def _placed(self) -> Iterator[torch.device]:
        """The network where it is trained: Lightning ends each fit and each test by moving it to the CPU."""
        network, device = self.module.network, self.trainer.strategy.root_device
        before = next(network.parameters()).device
        network.to(device)
        try:
            yield device
        finally:
            network.to(before)

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
    tolerance: Tolerance = field(default_factory=Sigma)
    noise: bool = True  # while training; without it sigma is not trained either
    place: Place = field(default_factory=lambda: Place(round=0))
    on_phase: Callable[[Phase], None] = lambda phase: None
    on_status: Callable[[str], None] = lambda text: None
    on_trained: Callable[[int], None] = lambda index: None  # between the training of a round and its clustering

    def rounds(self) -> Iterator[RoundOutcome]:
        """Run the rounds one by one, from `place` on; after the last, every quantised weight is a codebook entry.

        `place` moves along: when a round is handed over, it says that the next one is about to begin.
        """
        place = self.place
        for index in range(place.round, self.schedule.rounds):
            self._train(index)
            outcome = self._cluster(index, epochs=place.epochs, train_seconds=place.train_seconds)
            place.next_round(outcome.result.codebook)
            yield outcome

    def _train(self, index: int) -> None:
        place = self.place
        for phase in self.phases(index)[place.phase :]:
            started = time.perf_counter()
            self.on_phase(phase)
            self.runner.fit(phase)
            place.phase += 1
            place.epochs += phase.epochs * phase.share
            place.train_seconds += time.perf_counter() - started
        if place.codebook is not None and self.schedule.epochs(index):  # on every rank: each trains a copy of its own
            check_fixed(quantised_tensors(self.network), place.codebook)

    def phases(self, index: int) -> list[Phase]:
        """The fits of one round."""
        label = f"round {index + 1}/{self.schedule.rounds}"
        share = self.schedule.share(index)
        epochs = self.schedule.epochs(index)
        if self.schedule.training == "joint":
            return [Phase(label, epochs, self.optimizer, share, noise=self.noise, train_sigma=self.noise)]
        return [
            Phase(f"{label} mu", epochs, self.optimizer, share, noise=False, train_sigma=False),
            Phase(f"{label} sigma", epochs, self.optimizer, share, train_mu=False),
        ]

    def tolerance_of(self, weights: FlatWeights) -> Tensor:
        """The unit in which a clustering of the network, whose weights these are, would count moves now."""
        return self.tolerance(weights.mu, weights.sigma, self.runner.squared_gradients)

    def _cluster(self, index: int, *, epochs: float, train_seconds: float) -> RoundOutcome:
        """Test, cluster, test, describe. Every rank tests its share of the images; rank 0 alone does the rest."""
        tensors = quantised_tensors(self.network)
        self.on_status("testing")
        trained = self.runner.test()
        self.on_trained(index)
        self.on_status("clustering")
        started = time.perf_counter()
        before = FlatWeights.of(tensors) if is_first() else None
        result = self._clustered(index, tensors, before)
        cluster_seconds = time.perf_counter() - started
        self.on_status("testing")
        clustered = self.runner.test()
        described = None
        if before is not None:
            rows = stats.cluster_rows(before.mu, before.sigma, result.assignment, result.codebook, self.codebook.b)
            record = RoundRecord(
                round=index,
                fraction=self.schedule.fractions[index],
                epochs=epochs,
                steps=self.runner.steps,
                trained=trained,
                clustered=clustered,
                train_seconds=train_seconds,
                cluster_seconds=cluster_seconds,
                **_figures(before, result, rows),
            )
            described = (record, rows)
        return RoundOutcome(*agree(described), result)

    def _clustered(self, index: int, tensors: list[QuantisedTensor], before: FlatWeights | None) -> ClusterResult:
        """The clustering of one round, written into the network."""
        try:
            return cluster_network(
                tensors,
                before,
                fraction=self.schedule.fractions[index],
                threshold=self.clustering.threshold(index, self.schedule.rounds),
                inc=self.clustering.inc,
                zero_fix=self.clustering.zero_fix,
                codebook=self.codebook,
                sigma_join=self.sigma_join,
                tolerance=self.tolerance_of,
            )
        except ValueError as error:
            advice = "; try a smaller optimizer.lr" if self.schedule.epochs(index) else ""
            raise TrainingDiverged(
                f"the weights cannot be clustered in round {index + 1}/{self.schedule.rounds}: {error}{advice}"
            ) from error


def _figures(before: FlatWeights, result: ClusterResult, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a record tells of the clustering; `rows` has a row for every centroid."""
    values, counts = stats.network_values(result.mu, result.assignment, result.codebook)
    sigma = result.sigma.clamp(min=MIN_SIGMA)
    return {
        "codebook_size": result.codebook.numel(),
        "unique_weights": values.numel(),
        "entropy_bits": stats.entropy_bits(counts),
        "threshold": result.threshold,
        "order_share": stats.order_shares(rows, before.mu.numel()),
        "sigma_mean": sigma.double().mean().item(),
        "sigma_median": sigma.median().item(),
        "sigma_max": sigma.max().item(),
        "moved": _moved(before, result),
    }


def _moved(before: FlatWeights, result: ClusterResult) -> int:
    """How many weights were fixed before, are fixed now, and sit on another centroid."""
    both = (before.assignment != FREE) & (result.assignment != FREE)
    return int((both & (before.mu != result.mu)).sum())
