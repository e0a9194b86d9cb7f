"""The stages of a run in their order: pretraining, rounds, and what may follow the last clustering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors, set_sigma
from pwfn.bayesian.state_dict import plain_state
from pwfn.checkpoint import saved_networks
from pwfn.checkpoint.callback import Saver
from pwfn.checkpoint.run_state import PRETRAINING
from pwfn.monitoring.progress import RunProgress
from pwfn.monitoring.round_media import RoundView, round_view
from pwfn.monitoring.run_reporter import RunReporter
from pwfn.records import files
from pwfn.records.rounds import RoundRecord, Scores
from pwfn.run.artifact import write_for_run
from pwfn.run.lightning_runner import LightningRunner
from pwfn.run.round_loop import RoundLoop
from pwfn.run.settings import TrainSettings
from pwfn.training import distributed
from pwfn.training.distillation import Teacher
from pwfn.training.phase import Phase


@dataclass(frozen=True)
class Stages:
    """Each stage does what is left of it, so that a resumed run goes through all of them. Every rank takes part."""

    settings: TrainSettings
    plain: Any
    runner: LightningRunner
    saver: Saver
    progress: RunProgress

    def pretrain(self) -> None:
        """The ordinary training, if any; then the scores everything is compared with, and the starting sigmas."""
        settings, saver = self.settings, self.saver
        state, place = saver.state, saver.state.place
        self.progress.start_run(settings.epochs_of_rounds, rounds_done=len(state.records))
        if place.round != PRETRAINING:
            if self._learns_from_a_teacher:
                self._bring_in_the_teacher(saved_networks.read_pretrained(saver.folder))
            return
        if place.phase == 0:
            pretraining = Phase(
                "pretraining",
                settings.pretrain.epochs,
                settings.pretrain.optimizer,
                noise=False,
                train_sigma=False,
                lr_key="pretrain.optimizer.lr",
            )
            self.progress.start_phase("pretraining", pretraining.epochs)
            self.runner.fit(pretraining)
            place.phase = 1
        self.progress.status("testing")
        state.baseline = self.runner.test()
        saver.between_fits()
        self.progress.say(f"before compression: top1 {state.baseline.top1:.2f} %, loss {state.baseline.loss:.4f}")
        set_sigma(saver.network, settings.prior)
        if distributed.is_rank_zero():
            state.before = FlatWeights.of(quantized_tensors(saver.network)).mu.cpu()
            saved_networks.save_pretrained(saver.folder, saver.network)
        if self._learns_from_a_teacher:
            self._bring_in_the_teacher(plain_state(saver.network))
        place.next_round(None)
        saver.between_fits(always=True)

    @property
    def _learns_from_a_teacher(self) -> bool:
        schedule, weight = self.settings.schedule, self.settings.distillation.weight
        trains = self.settings.finish.epochs > 0 or any(schedule.epochs(index) for index in range(schedule.rounds))
        return weight > 0 and trains

    def _bring_in_the_teacher(self, weights: Mapping[str, Tensor]) -> None:
        model, data = self.settings.model, self.settings.data
        teacher = Teacher(
            lambda: model.build(num_classes=data.num_classes, in_chans=data.channels, load_weights=False), weights
        )
        self.runner.module.teacher = teacher
        self.progress.say(
            f"distillation: the pretrained network teaches, which takes {teacher.bytes / 1e6:.1f} MB in every process"
        )

    def rounds(self, reporter: RunReporter | None) -> None:
        """The rounds, and what follows the last of them. A round's files are written before its checkpoint, which has all
        that they say.
        """
        loop, state = self._loop(reporter), self.saver.state
        self.progress.results(self._baseline, state.records)
        for outcome in loop.rounds():
            record = outcome.record
            distributed.check_same(self.saver.network, f"after the clustering of round {record.round + 1}")
            view = None
            if reporter:
                saved_networks.save_values(self.saver.folder, outcome.result.values)
                if reporter.wants_views and state.before is not None:
                    view = round_view(state.before, outcome.result, outcome.clusters)
            self._keep(record, outcome.clusters, reporter, view)
        if self.settings.finish.wanted and state.place.round == self.settings.schedule.rounds:
            record = loop.finish(self.settings.finish, state.records[-1])
            distributed.check_same(self.saver.network, "at the end of the run")
            self._keep(record, [], reporter)

    def _loop(self, reporter: RunReporter | None) -> RoundLoop:
        settings, saver = self.settings, self.saver

        def keep_trained(index: int) -> None:
            if reporter and index == settings.schedule.rounds - 1:
                saved_networks.save(saver.folder, saver.network, index, files.TRAINED)
            saver.between_fits()

        return RoundLoop(
            self.runner,
            saver.network,
            settings.schedule,
            settings.clustering,
            settings.codebook,
            settings.sigma_join,
            settings.optimizer,
            settings.tolerance,
            settings.noise,
            place=saver.state.place,
            on_phase=lambda phase: self.progress.start_phase(phase.label, phase.epochs, phase.share),
            on_status=self.progress.status,
            on_trained=keep_trained,
        )

    def _keep(
        self,
        record: RoundRecord,
        clusters: list[dict[str, Any]],
        reporter: RunReporter | None,
        view: RoundView | None = None,
    ) -> None:
        """Write down what a round or the finishing has come to; raises Stopped where the run is to end for it."""
        settings, saver, state = self.settings, self.saver, self.saver.state
        state.add(record, clusters)
        if reporter:
            saved_networks.save(saver.folder, saver.network, record.round)
            if settings.artifact.every_round and record.fraction < 1:
                file = f"round_{record.round + 1}.pwfn"
                write_for_run(
                    saver.folder, saver.network, settings, self.plain, self._baseline, record, file=file, last=False
                )
            self.progress.results(self._baseline, state.records)
            self.progress.finish_round(reporter.add(record, clusters, view))
        saver.between_fits(always=True)
        self._judge()

    def _judge(self) -> None:
        """Say what the last round cost, quiet or not, if that is much."""
        guard, records = self.settings.costly_round, self.saver.state.records
        complaint = guard.complaint(records, self._baseline)
        if complaint is None:
            return
        if distributed.is_rank_zero():
            self.progress.console.print(f"warning: {complaint}", soft_wrap=True, markup=False, highlight=False)
        if guard.stop and len(records) < self.settings.schedule.rounds:
            raise guard.stopped(complaint)

    @property
    def _baseline(self) -> Scores:
        baseline = self.saver.state.baseline
        assert baseline is not None  # known from the end of the pretraining on
        return baseline
