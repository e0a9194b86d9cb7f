"""Go through the stages of a run: pretraining, rounds, and what may follow the last clustering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors
from pwfn.bayesian.state_dict import plain_state
from pwfn.checkpoint import saved_networks
from pwfn.checkpoint.callback import Saver
from pwfn.checkpoint.run_state import PRETRAINING
from pwfn.clustering.second_order import SecondOrder
from pwfn.models.accuracy_interval import with_interval
from pwfn.models.loading import heads_of
from pwfn.monitoring.loggers.round_media import RoundView, round_view
from pwfn.monitoring.progress import RunProgress
from pwfn.monitoring.run_reporter import RunReporter
from pwfn.records import files
from pwfn.records.rounds import RoundRecord, Scores
from pwfn.run.ending.better_network import keep_better, unquantized_state
from pwfn.run.ending.write_artifact import write_run_artifact
from pwfn.run.find_rate import FoundClustering, RateSearch
from pwfn.run.lightning_runner import LightningRunner
from pwfn.run.rounds.accuracy_guard import Judged
from pwfn.run.rounds.round_loop import RoundLoop
from pwfn.run.rounds.stored_form import StoredForm
from pwfn.run.settings import TrainSettings
from pwfn.run.starting_sigmas import set_starting_sigmas
from pwfn.training import distributed
from pwfn.training.distillation import Teacher
from pwfn.training.phase import Phase
from pwfn.training.signals import StopNow

IF_ANOTHER = (  # for weights that were trained elsewhere
    "(if these weights are known to be better: data.image_size, data.crop_pct, data.mean and data.std prepare the "
    "images, data.class_order orders the classes of a folder)"
)


@dataclass(frozen=True)
class Stages:
    """Train a run stage by stage, on every rank.

    Each stage does what is left of it, so that a resumed run goes through all of them. `config` is the resolved
    configuration, which artifacts keep.
    """

    settings: TrainSettings
    config: dict[str, Any]
    runner: LightningRunner
    saver: Saver
    progress: RunProgress

    def pretrain(self) -> None:
        """Train as an ordinary network, if asked to; then measure the baseline and set the starting sigmas."""
        saver = self.saver
        state, place = saver.state, saver.state.place
        if self.settings.budget.wanted:
            RateSearch(self.settings, self.config, self.runner, saver, self.progress).check()
        self.progress.start_run(self.settings.epochs_of_rounds, rounds_done=len(state.records))
        if place.round != PRETRAINING:
            if self._learns_from_a_teacher:
                self._bring_in_the_teacher(saved_networks.read_pretrained(saver.folder))
            return
        self._fit_pretraining()
        self.progress.status("testing")
        state.baseline, state.baseline_val = self.runner.test(), self.runner.validate()
        saver.between_fits()
        top1 = with_interval(state.baseline.top1, self.runner.data.count("test"))
        self.progress.say(f"before compression: top1 {top1}, loss {state.baseline.loss:.4f}")
        if not self.settings.model.random_weights and not self.settings.pretrain.trains:
            self.progress.say(IF_ANOTHER)
        with self.runner.placed():
            set_starting_sigmas(saver.network, self.settings, self.runner.data, self.progress.say)
        if distributed.is_rank_zero():
            state.before = FlatWeights.of(quantized_tensors(saver.network)).mu.cpu()
            saved_networks.save_pretrained(saver.folder, saver.network)
        if self._learns_from_a_teacher:
            self._bring_in_the_teacher(plain_state(saver.network))
        place.next_round(None)
        saver.between_fits(always=True)

    def _fit_pretraining(self) -> None:
        """Train the classifier alone, if asked to, then all; `place.phase` counts the fits that are done."""
        spec, place = self.settings.pretrain, self.saver.state.place
        of_all = Phase(
            "pretraining", spec.epochs, spec.optimizer, noise=False, train_sigma=False, lr_key="pretrain.optimizer.lr"
        )
        phases = [of_all]
        if spec.head_epochs:
            heads = heads_of(self.saver.network)
            phases.insert(0, replace(of_all, label="the classifier", epochs=spec.head_epochs, layers=heads))
        for phase in phases[place.phase :]:
            self.progress.start_phase(phase.label, phase.epochs)
            self.runner.fit(phase)
            place.phase += 1

    @property
    def _learns_from_a_teacher(self) -> bool:
        trains = self.settings.schedule.trains or self.settings.finish.epochs > 0
        return self.settings.distillation.weight > 0 and trains

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
        """Train and cluster all rounds, then finish what is not quantized, if asked to.

        The files of a round are written before its checkpoint, which has all that they say. `reporter` is given on rank
        0 alone.
        """
        state, loop = self.saver.state, self._loop(reporter, self._meet_the_budget())
        self.progress.results(self.baseline, state.records)
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
            record = self._finish(loop)
            distributed.check_same(self.saver.network, "at the end of the run")
            self._keep(record, [], reporter)

    def _meet_the_budget(self) -> FoundClustering | None:
        """Find the rate of the clustering before the first round, if there is a budget."""
        state = self.saver.state
        found = None
        if self.settings.budget.wanted and state.rate is None:
            found = RateSearch(self.settings, self.config, self.runner, self.saver, self.progress).find()
            state.rate = found.rate
            self.saver.between_fits(always=True)
        return found

    def _finish(self, loop: RoundLoop) -> RoundRecord:
        """Finish what is not quantized, and keep the better network."""
        saver, state = self.saver, self.saver.state
        begins = state.place.phase == 0 and not saver.resumes_a_fit
        if state.before_finish is None and begins:  # a run resumed in its finishing has it, but for one of version 0.1
            state.before_finish = unquantized_state(saver.network)
        loop.train_finish(self.settings.finish)
        last, trained, place = state.records[-1], unquantized_state(saver.network), replace(state.place)
        try:
            finished = loop.measure_finish(self.settings.finish, last)
            record, line = keep_better(saver.network, state.before_finish, last, finished)
            record = self.stored_form.measured_record(record)
        except StopNow:
            saver.network.load_state_dict(trained, strict=False)
            vars(state.place).update(vars(place))
            raise
        state.before_finish = None
        self.progress.say(line)
        return record

    def _loop(self, reporter: RunReporter | None, found: FoundClustering | None = None) -> RoundLoop:
        settings, saver = self.settings, self.saver
        clustering, rate = settings.clustering, saver.state.rate
        if isinstance(clustering, SecondOrder) and rate is not None:
            clustering = replace(clustering, rate=rate)

        def keep_trained(index: int) -> None:
            if reporter and index == settings.schedule.rounds - 1:
                saved_networks.save(saver.folder, saver.network, index, files.TRAINED)
            saver.between_fits()

        return RoundLoop(
            self.runner,
            saver.network,
            settings.schedule,
            clustering,
            settings.codebook,
            settings.sigma_join,
            settings.optimizer,
            settings.tolerance,
            settings.noise,
            place=saver.state.place,
            on_phase=lambda phase: self.progress.start_phase(phase.label, phase.epochs, phase.share),
            on_status=self.progress.status,
            on_trained=keep_trained,
            on_clustered=self.stored_form.after_round,
            at_once=saver.stop.at_once,
            heed=saver.heed,
            first_clustering=None if found is None else found.restore,
        )

    def _keep(
        self,
        record: RoundRecord,
        clusters: list[dict[str, Any]],
        reporter: RunReporter | None,
        view: RoundView | None = None,
    ) -> None:
        """Write the record of a round or of the finishing everywhere; raises Stopped if the run is to end."""
        settings, saver, state = self.settings, self.saver, self.saver.state
        state.add(record, clusters)
        if reporter:
            saved_networks.save(saver.folder, saver.network, record.round)
            if settings.artifact.every_round and record.fraction < 1:
                file = f"round_{record.round + 1}.pwfn"
                write_run_artifact(
                    saver.folder, saver.network, settings, self.config, self.baseline, record, file=file, last=False
                )
            self.progress.results(self.baseline, state.records)
            self.progress.finish_round(reporter.add(record, clusters, view))
        saver.between_fits(always=True)
        self._guard_accuracy()

    def _guard_accuracy(self) -> None:
        """Warn of a last round that lost much accuracy, quiet or not, and stop the run if it should."""
        guard, records = self.settings.costly_round, self.saver.state.records
        if (complaint := guard.complaint(records, self._judged())) is None:
            return
        if distributed.is_rank_zero():
            self.progress.console.print(f"warning: {complaint}", soft_wrap=True, markup=False, highlight=False)
        if guard.stop and len(records) < self.settings.schedule.rounds:
            raise guard.stopped(complaint)

    def _judged(self) -> Judged:
        """Return what rounds are held against: the pretrained network on the images that choices go by."""
        data, validation = self.runner.data, self.saver.state.baseline_val
        if validation is None:
            return Judged(self.baseline, data.count("test"), "test")
        return Judged(validation, data.count("val"), "validation")

    @property
    def stored_form(self) -> StoredForm:
        """Return the form of the network's artifact, which its last scores are measured in."""
        return StoredForm.of(self.settings, self.saver.network, self.runner, self.progress.say)

    @property
    def baseline(self) -> Scores:
        """Return the scores of the pretrained network."""
        baseline = self.saver.state.baseline
        assert baseline is not None  # known from the end of the pretraining on
        return baseline
