"""Loop over the rounds: train, test, cluster, test, record, until every weight is a codebook entry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from pwfn.bayesian.flat_weights import FlatWeights, check_fixed
from pwfn.bayesian.posterior import QuantizedTensor, quantized_tensors
from pwfn.checkpoint.run_state import Place
from pwfn.clustering import statistics
from pwfn.clustering.cluster_result import ClusterResult
from pwfn.clustering.codebooks.codebook import Codebook
from pwfn.clustering.rules import Rule, RuleOfWeights
from pwfn.clustering.second_order import SecondOrder
from pwfn.clustering.sigma_join import SigmaJoin
from pwfn.clustering.tolerance import SigmaTolerance, Tolerance
from pwfn.records.rounds import RoundRecord
from pwfn.run.ending.finishing import Finishing
from pwfn.run.rounds.cluster_network import PerTensorLimit, cluster_network
from pwfn.run.rounds.round_figures import round_figures
from pwfn.run.rounds.schedule import Fit, Schedule
from pwfn.run.rounds.second_order_round import SecondOrderRound
from pwfn.run.rounds.stored_form import Measured
from pwfn.run.rounds.unclustered import Unclustered
from pwfn.run.runner import Runner
from pwfn.training.distributed import broadcast_object, is_rank_zero
from pwfn.training.optimizer import OptimizerSpec
from pwfn.training.phase import Phase, TrainingDiverged
from pwfn.training.signals import StopNow


@dataclass(frozen=True)
class RoundOutcome:
    """Hold a finished round: its record, the rows of clusters.csv, and the clustering itself."""

    record: RoundRecord
    clusters: list[dict[str, Any]]
    result: ClusterResult


@dataclass(frozen=True)
class RoundLoop:
    """Train and cluster a Bayesian network whose sigmas have been set, round by round.

    Attributes:
        noise: whether training draws weights; without it sigma is not trained either.
        place: where the run is; it moves along.
        on_phase: is told each fit before it begins.
        on_status: is told what goes on between fits.
        on_trained: is told the round between its training and its clustering.
        on_clustered: may change what is not quantized after a round's clustering; given the scores, returns the new.
        at_once: makes a context that rank 0 clusters in, and that may raise StopNow.
        heed: may raise StopNow, on every rank.
        first_clustering: gives the clustering of the first round and its seconds, where a search has made it already.
    """

    runner: Runner
    network: nn.Module
    schedule: Schedule
    clustering: Rule
    codebook: Codebook
    sigma_join: SigmaJoin
    optimizer: OptimizerSpec
    tolerance: Tolerance = field(default_factory=SigmaTolerance)
    noise: bool = True
    place: Place = field(default_factory=lambda: Place(round=0))
    on_phase: Callable[[Phase], None] = lambda _: None
    on_status: Callable[[str], None] = lambda _: None
    on_trained: Callable[[int], None] = lambda _: None
    on_clustered: Callable[[int, Measured], Measured] = lambda _, scores: scores
    at_once: Callable[[], AbstractContextManager[None]] = nullcontext
    heed: Callable[[], None] = lambda: None
    first_clustering: Callable[[], tuple[ClusterResult, float]] | None = None

    def rounds(self) -> Iterator[RoundOutcome]:
        """Run the rounds one by one, from `place` on.

        After the last, every quantized weight is a codebook entry. When a round is handed over, `place` says that the
        next one is about to begin.
        """
        place = self.place
        for index in range(place.round, self.schedule.rounds):
            self._fit(self.phases(index))
            outcome = self._cluster(index, epochs=place.epochs, train_seconds=place.train_seconds)
            place.next_round(outcome.result.codebook, outcome.result.values)
            yield outcome

    def train_finish(self, spec: Finishing) -> None:
        """Train what follows the last clustering."""
        others = Phase("finishing", spec.epochs, spec.optimizer, noise=False, train_mu=False, train_sigma=False)
        self._fit([replace(others, lr_key="finish.optimizer.lr")])

    def measure_finish(self, spec: Finishing, last: RoundRecord) -> RoundRecord:
        """Gather the statistics that follow the last clustering, whose record is `last`, and measure.

        Its `trained` is measured after the training, `clustered` at the end; of the weights it says what `last` does.
        """
        place = self.place
        trained = ended = (last.clustered, last.clustered_val)
        if spec.epochs:
            self.on_status("testing")
            trained = ended = (self.runner.test(), self.runner.validate())
        if spec.batchnorm_images:
            self.on_status("gathering statistics")
            self.runner.new_statistics(spec.batchnorm_images)
            self.on_status("testing")
            ended = (self.runner.test(), self.runner.validate())
        record = replace(
            last,
            round=last.round + 1,
            epochs=place.epochs,
            steps=self.runner.steps,
            trained=trained[0],
            clustered=ended[0],
            trained_val=trained[1],
            clustered_val=ended[1],
            moved=0,
            train_seconds=place.train_seconds,
            cluster_seconds=0.0,
        )
        place.next_round(place.codebook, place.values)
        return record

    def _fit(self, phases: list[Phase]) -> None:
        """Train what is left of the fits of one round; fixed weights must be where they were."""
        place = self.place
        for phase in phases[place.phase :]:
            started = time.perf_counter()
            self.on_phase(phase)
            self.runner.fit(phase)
            place.phase += 1
            place.epochs += phase.epochs * phase.share
            place.train_seconds += time.perf_counter() - started
        if place.codebook is not None and any(phase.epochs for phase in phases):  # each rank trains a copy of its own
            check_fixed(quantized_tensors(self.network), place.codebook)

    def phases(self, index: int) -> list[Phase]:
        """Return the phases of one round, one for each of its fits."""
        return [self._phase(f"round {index + 1}/{self.schedule.rounds}", fit) for fit in self.schedule.fits(index)]

    def _phase(self, label: str, fit: Fit) -> Phase:
        noise, sigma_alone = self.noise and fit.trains != "mu", fit.trains == "sigma"
        return Phase(
            label if fit.trains == "joint" else f"{label} {fit.trains}",
            fit.epochs,
            self.optimizer,
            fit.share,
            noise=noise,
            train_sigma=noise,
            train_mu=not sigma_alone,
            train_others=not sigma_alone,
        )

    def tolerance_of(self, weights: FlatWeights) -> Tensor:
        """Return the unit in which a clustering of `weights` would count moves now."""
        look = self.runner.kronecker_diagonal if self.tolerance.factor_images else self.runner.squared_gradients
        return self.tolerance(weights.mu, weights.sigma, look)

    def _cluster(self, index: int, *, epochs: float, train_seconds: float) -> RoundOutcome:
        """Test, cluster, test, describe. Every rank tests its share of the images; rank 0 alone does the rest."""
        tensors = quantized_tensors(self.network)
        self.on_status("testing")
        trained, trained_val = self.runner.test(), self.runner.validate()
        self.on_trained(index)
        self.on_status("clustering")
        started = time.perf_counter()
        before = FlatWeights.of(tensors) if is_rank_zero() else None
        unclustered = Unclustered.of(tensors, before, self.network)
        try:
            if self.first_clustering is not None and index == 0:
                result, cluster_seconds = self.first_clustering()
            else:
                result, cluster_seconds = self._clustered(index, tensors, before), time.perf_counter() - started
            self.on_status("testing")
            clustered, clustered_val = self.on_clustered(index, (self.runner.test(), self.runner.validate()))
        except StopNow:
            unclustered.restore()
            raise
        described = None
        if before is not None:
            assert result.values is not None
            orders = result.values.orders(result.codebook)
            rows = statistics.cluster_rows(before.mu, before.sigma, result.assignment, result.codebook, orders)
            record = RoundRecord(
                round=index,
                fraction=self.schedule.fractions[index],
                epochs=epochs,
                steps=self.runner.steps,
                trained=trained,
                clustered=clustered,
                trained_val=trained_val,
                clustered_val=clustered_val,
                train_seconds=train_seconds,
                cluster_seconds=cluster_seconds,
                **round_figures(before, result, rows, [tensor.mu.numel() for tensor in tensors]),
            )
            described = (record, rows)
        return RoundOutcome(*broadcast_object(described), result)

    def _limit(self) -> PerTensorLimit | None:
        most = self.codebook.per_tensor_max
        return None if most is None else PerTensorLimit(most, second_order=self.tolerance.sees_images)

    def _layer_done(self, done: int, count: int) -> None:
        self.heed()
        self.on_status(f"clustering, layer {done} of {count}")

    def _clustered_by_curvature(self, index: int, rule: SecondOrder) -> ClusterResult:
        round_ = SecondOrderRound(
            self.network,
            rule,
            self.place.values or self.codebook,
            self.sigma_join,
            self.runner.calibration_images(rule.images),
            seed=index,
            on_layer=self._layer_done,
        )
        with self.runner.placed():
            return round_.run(self.schedule.fractions[index])[0]

    def _clustered(self, index: int, tensors: list[QuantizedTensor], before: FlatWeights | None) -> ClusterResult:
        """Cluster the network for one round, in place."""
        try:
            if isinstance(self.clustering, SecondOrder):
                return self._clustered_by_curvature(index, self.clustering)
            assert isinstance(self.clustering, RuleOfWeights)
            return cluster_network(
                tensors,
                before,
                fraction=self.schedule.fractions[index],
                threshold=self.clustering.threshold(index, self.schedule.rounds),
                rule=self.clustering,
                codebook=self.place.values or self.codebook,
                sigma_join=self.sigma_join,
                tolerance=self.tolerance_of,
                limit=self._limit(),
                at_once=self.at_once,
            )
        except ValueError as error:
            advice = "; try a smaller optimizer.lr" if any(phase.epochs for phase in self.phases(index)) else ""
            raise TrainingDiverged(
                f"the weights cannot be clustered in round {index + 1}/{self.schedule.rounds}: {error}{advice}"
            ) from error
