"""Log to W&B through Lightning's logger, which may fail at any moment without ending the run."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import DummyExperiment
from typing_extensions import override

from pwfn.config.secrets import without_secrets
from pwfn.monitoring.loggers.background import Background
from pwfn.monitoring.loggers.losses import NOTHING_IS_LOST, Losses
from pwfn.monitoring.loggers.media import image, media, table
from pwfn.monitoring.loggers.round_logger import OneRunLogger, is_rank_0
from pwfn.monitoring.loggers.round_media import RoundView
from pwfn.monitoring.wandb.process import arguments_without_secrets, environment, is_of_wandb

FINISH_VARIABLE, FINISH_SECONDS = "WANDB_FINISH_TIMEOUT", 300.0  # for uploads after the run has ended


class RunLogger(OneRunLogger, WandbLogger):
    """Log to W&B, and warn once where it fails.

    A run that cannot start online goes on offline; one that cannot start at all goes on without W&B.

    Args:
        artifact: whether the run's result is uploaded.
        options: of Lightning's logger, and of wandb.init.
    """

    def __init__(self, *, artifact: bool, name: str, project: str, save_dir: str, **options: Any) -> None:
        super().__init__(name=name, project=project, save_dir=save_dir)
        self._artifact = artifact
        self._losses = Losses(f"W&B run {name!r}")
        # resume: an id that W&B knows goes on
        self._options = options | {"name": name, "project": project, "dir": save_dir, "resume": "allow"}
        self._run: Any = None
        self._open = ExitStack()
        self._background = Background()
        self._lost: Exception | None = None  # why something that was to be sent in the background was not
        self._unsent: Path | None = None  # the result, until the server has it

    @property
    @override
    def takes_pictures(self) -> bool:
        return str(self._options["mode"]) != "disabled"

    @property
    @override
    def experiment(self) -> Any:
        """Return the W&B run, which starts when it is first wanted; on other ranks one that does nothing."""
        if self._run is None:
            self._run = self._started() if is_rank_0() else DummyExperiment()
        return self._run

    def _started(self) -> Any:
        mode = self._options["mode"]
        if mode != "disabled":
            folder = Path(self._options["dir"], "wandb").absolute()
            with suppress(OSError):  # W&B says so itself, and goes to a temporary folder
                folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                # tables and artifacts that are still to be uploaded: beside the run, not in the user's home
                self._open.enter_context(environment(WANDB_DATA_DIR=str(folder)))
        try:
            # an offline run has no use for the server's address, which W&B would look up to report errors to
            with (
                arguments_without_secrets(),
                environment(**({} if mode == "online" else {"WANDB_ERROR_REPORTING": "false"})),
            ):
                run = wandb.init(**self._options, settings=_settings())
                run.define_metric("trainer/global_step")
                run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
            return run
        except Exception as error:
            if not is_of_wandb(error):
                raise
            rest = "It goes on offline: upload it later with `wandb sync`" if mode == "online" else NOTHING_IS_LOST
            self._losses.warn(f"cannot start {mode}", error, rest)
        if mode != "online":
            return DummyExperiment()
        self._options["mode"] = "offline"
        wandb.teardown()  # its helper process would take the new run for the one that failed, and write nothing
        return self._started()

    def _tell(self, action: Callable[[Any], Any]) -> None:
        """Do something with the W&B run, if there is one."""
        run = self.experiment
        if isinstance(run, DummyExperiment):
            return
        try:
            action(run)
        except Exception as error:
            if not is_of_wandb(error):
                raise
            self._losses.warn("failed", error)

    def _tell_slowly(self, action: Callable[[Any], Any]) -> None:
        """Do what waits for the server (tables and files do) without having an online run wait."""

        def attempt() -> None:
            try:
                action(self.experiment)
            except Exception as error:
                if not is_of_wandb(error):
                    raise
                self._lost = self._lost or error

        if self._options["mode"] == "online" and not isinstance(self.experiment, DummyExperiment):
            self._background.do(attempt)
        else:
            self._tell(action)

    def _commands(self, run: Any) -> str:
        """Return what sends the rest of a run that the server has not got whole."""
        commands = f"`wandb sync --include-online {shlex.quote(str(Path(run.dir).parent))}`"
        if self._unsent is not None:  # W&B keeps no note of an online run's artifacts
            name = f"{run.entity}/{run.project}/model-{run.id}"
            put = f"wandb artifact put --type model --name {name}"
            commands += f" and `{put} {shlex.quote(str(self._unsent))}`"
        return commands

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._tell(lambda _run: super(RunLogger, self).log_metrics(metrics, step))

    @override
    def log_hyperparams(self, params: Any) -> None:
        self._tell(lambda _run: super(RunLogger, self).log_hyperparams(without_secrets(params)))

    @override
    def start_rounds(self, keys: Iterable[str]) -> None:
        def define(run: Any) -> None:
            # One by one, because only exact names take precedence over Lightning's `*` -> trainer/global_step.
            for key in keys:
                run.define_metric(key, step_metric=None if key == "round" else "round")
                if key.startswith("histogram/"):  # of which the summary would have all edges and counts, 500 entries
                    for of in ("bins", "values"):
                        run.define_metric(f"{key}.{of}", step_metric="round", summary="none")

        self._tell(define)

    @override
    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        # without step: W&B's own step starts again at 0 in a resumed run
        self._tell(lambda run: run.log({**flat, **(media(wandb, view) if view else {})}))
        if view is not None:
            self._tell_slowly(lambda run: run.log({"round": flat["round"], "clusters": table(wandb, view)}))

    @override
    def report_again(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        # an offline run begins anew under its old id, and would replace the old one
        def repeat(run: Any) -> None:
            known = run.summary.get("round", -1) if run.resumed else -1
            for flat in rows:
                if flat["round"] > known:
                    run.log(dict(flat))

        self._tell(repeat)

    @override
    def mark_preempting(self) -> None:
        self._tell(lambda run: run.mark_preempting())

    @override
    def report_summary(self, values: Mapping[str, float | int]) -> None:
        self._tell(lambda run: run.summary.update(dict(values)))

    @override
    def report_pictures(self, pictures: Mapping[str, NDArray[np.uint8] | Path]) -> None:
        self._tell_slowly(lambda run: run.log({key: image(wandb, picture) for key, picture in pictures.items()}))

    @override
    def report_artifact(self, path: Path, metadata: Mapping[str, Any]) -> None:
        def send(run: Any) -> None:
            artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata=dict(metadata))
            # immutable: not copied to the folder that W&B keeps in the user's home
            artifact.add_file(str(path.absolute()), name=path.name, policy="immutable")
            logged = run.log_artifact(artifact)
            if self._options["mode"] == "online":
                logged.wait()
                self._unsent = None

        if self._artifact:
            self._unsent = path.absolute()
            self._tell_slowly(send)

    @override
    def close(self, exit_code: int) -> None:
        """Finish the W&B run, if there is one, and wait a while for what is still to be uploaded."""

        def finish(run: Any) -> None:
            online = self._options["mode"] == "online"
            done = self._background.finish(float(os.environ.get(FINISH_VARIABLE, FINISH_SECONDS)))
            lost = self._lost or self._background.error or (None if done else TimeoutError("no answer"))
            try:
                run.finish(exit_code=exit_code)
            except TimeoutError as error:
                lost = lost or error
            if online and lost is not None:
                self._losses.warn("is not complete at the server", lost, f"Send the rest with {self._commands(run)}")

        if self._run is not None:
            self._tell(finish)
        self._open.close()


def _settings() -> wandb.Settings:
    # quiet: its closing summary would repeat the table of rounds. In a terminal it would record every frame of the live
    # view, megabytes an hour.
    settings = wandb.Settings(quiet=True, console="off" if sys.stdout.isatty() else "auto", finish_timeout_raises=True)
    if FINISH_VARIABLE not in os.environ:  # without a limit it would wait for a lost server for days
        settings.finish_timeout = FINISH_SECONDS
    return settings
