"""Find the rate of second-order clustering that meets the budget of a run, before its first round."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor, nn

from pwfn.checkpoint.callback import Saver
from pwfn.clustering.cluster_result import ClusterResult
from pwfn.clustering.second_order import SecondOrder
from pwfn.errors import RunError
from pwfn.monitoring.progress import RunProgress
from pwfn.post_training.budget import BudgetNotMet, Trial, find_rate
from pwfn.records.files import BUDGET, write_text
from pwfn.run.ending.write_artifact import trial_receipt
from pwfn.run.lightning_runner import LightningRunner
from pwfn.run.rounds.second_order_round import SecondOrderRound
from pwfn.run.settings import TrainSettings
from pwfn.training.distributed import broadcast_object, is_rank_zero


@dataclass(frozen=True)
class FoundClustering:
    """Hold the clustering that meets a budget, which a first round at its rate would repeat.

    Attributes:
        rate: nats per bit.
        network: is the run's.
        state: of the network after the clustering.
        result: of the clustering.
        seconds: wall time of the clustering.
    """

    rate: float
    network: nn.Module
    state: dict[str, Tensor]
    result: ClusterResult
    seconds: float

    def restore(self) -> tuple[ClusterResult, float]:
        """Put the network where the clustering left it; return the result and what it took in seconds."""
        self.network.load_state_dict(self.state)
        return self.result, self.seconds


@dataclass(frozen=True)
class RateSearch:
    """Cluster the network of a run as a whole, at several rates; every rank takes part.

    Attributes:
        settings: of the run; its clustering is second-order.
        config: the resolved configuration, which artifacts keep.
        runner: has the images, and validates.
        saver: has the network and the run's folder.
        progress: is told of every trial.
    """

    settings: TrainSettings
    config: dict[str, Any]
    runner: LightningRunner
    saver: Saver
    progress: RunProgress

    def check(self) -> None:
        """Raise RunError if the budget cannot be judged."""
        self.runner.data.setup()
        if self.settings.budget.drop is not None and self.runner.data.partition.val is None:  # type: ignore[union-attr]
            raise RunError(
                f"budget.drop = {self.settings.budget.drop}: is judged on validation images: set data.val_fraction"
            )

    def find(self) -> FoundClustering:
        """Return the best clustering within the budget; the network stays as it is, trials go to the folder.

        Raises:
            RunError: no rate meets the budget.
            StopNow: on every rank, where one is asked to stop.
        """
        rule, network = self.settings.clustering, self.saver.network
        assert isinstance(rule, SecondOrder)
        state = _copy(network.state_dict())
        scores = self.runner.validate() if self.settings.budget.drop is not None else None
        trials: list[Trial] = []
        best: FoundClustering | None = None

        def attempt(rate: float) -> Trial:
            nonlocal best
            try:
                trial, made = self._trial(network, replace(rule, rate=rate), None if scores is None else scores.top1)
                trials.append(trial)
                if self.settings.budget.best(trials) is trial:
                    best = FoundClustering(rate, network, _copy(network.state_dict()), *made)
            finally:
                network.load_state_dict(state)
            self.progress.say(f"budget, try {len(trials)}: {trial.line()}")
            return trial

        try:
            found = find_rate(self.settings.budget, rule.rate, attempt)
        except BudgetNotMet as error:
            raise RunError(str(error)) from error
        finally:
            if is_rank_zero():
                write_text(self.saver.folder / BUDGET, json.dumps([asdict(trial) for trial in trials], indent=1) + "\n")
        self.progress.say(f"budget: try {trials.index(found) + 1} is used")
        assert best is not None
        return best

    def _layer_done(self, done: int, count: int) -> None:
        self.saver.heed()
        self.progress.status(f"trying a rate, layer {done} of {count}")

    def _trial(
        self, network: nn.Module, rule: SecondOrder, top1: float | None
    ) -> tuple[Trial, tuple[ClusterResult, float]]:
        settings, runner = self.settings, self.runner
        clustering = SecondOrderRound(
            network,
            rule,
            settings.codebook,
            settings.sigma_join,
            runner.calibration_images(rule.images),
            on_layer=self._layer_done,
        )
        started = time.perf_counter()
        with runner.placed():
            result, outcome = clustering.run(1.0)
        seconds = time.perf_counter() - started
        scores = None if top1 is None else runner.validate()
        measured = None
        if is_rank_zero():
            sizes = trial_receipt(network, settings, self.config)
            assert sizes.file is not None
            measured = sizes.file / 1e6, sizes.file_bits
        megabytes, bits = broadcast_object(measured)
        drop = None if top1 is None or scores is None else top1 - scores.top1
        return Trial(rule.rate, megabytes, bits, outcome.divergence, drop), (result, seconds)


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}
