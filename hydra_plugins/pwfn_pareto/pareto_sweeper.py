"""Search two objectives with optuna, in a Hydra sweeper that can be killed at any moment.

Hydra's own plugin for optuna is bound to optuna 2, whose storage failed with the versions pip chose beside it. Here
trial n is always job n, and the study in the sweep's folder (`study.db`) knows a trial as open until its result has
been told.

Hydra imports this module at every start, so it imports nothing heavy.
"""

from __future__ import annotations

import atexit
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from pwfn.errors import require
from pwfn.sweep.folder import SweepError
from pwfn.sweep.search_space import search_space, suggested
from pwfn.sweep.table import Row, figures, print_table, write_table

if TYPE_CHECKING:
    from optuna import Study, Trial

    Asked = tuple[Trial, list[str]]  # a trial, and the overrides that it is

STUDY = "study.db"
FRONT = "pareto.json"  # and pareto.csv, pareto.png
VALIDATION = "clustered/val_top1"
_DIRECTIONS = ("maximize", "minimize")


class ParetoSweeper(Sweeper):
    """Ask for `batch_size` trials at a time up to `n_trials`; end with the front of those that ended well."""

    def __init__(
        self,
        n_trials: int,
        n_startup: int,
        seed: int,
        batch_size: int,
        objectives: Mapping[str, str],
        params: Mapping[str, str],
    ) -> None:
        self.n_trials, self.n_startup, self.seed, self.batch_size = n_trials, n_startup, seed, batch_size
        self.objectives, self.params = dict(objectives), dict(params)
        require(
            self,
            n_trials=(_whole(n_trials, 1), "an integer from 1"),
            n_startup=(_whole(n_startup, 1), "an integer from 1"),
            seed=(_whole(seed, 0), "an integer from 0"),
            batch_size=(_whole(batch_size, 1), "an integer from 1"),
            objectives=(
                len(self.objectives) == 2 and set(self.objectives.values()) <= set(_DIRECTIONS),
                "two figures of result.json, each with maximize or minimize",
            ),
        )
        self.rows: dict[int, Row] = {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives and make the launcher."""
        self.context, self.config = hydra_context, config
        self.folder = Path(str(config.hydra.sweep.dir)).absolute()
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search; `arguments` are the overrides of the command line."""
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        lines = [f"{key}={value}" for key, value in self.params.items()]
        self.fixed, self.space = search_space(parser.parse_overrides([*lines, *arguments]))
        if not self.space:
            raise SweepError("pwfn: nothing is left to search: give a range, an interval or a choice")
        if VALIDATION in self.objectives and (why := self._why_no_validation()):
            raise SweepError(f"pwfn: {VALIDATION} is an objective, but there are no validation images: {why}")
        self.study = self._study()
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        searched = "; ".join(f"{key}: {dimension}" for key, dimension in self.space.items())
        print(f"Search: {self.n_trials} trials for {self._aim()} over {searched}", flush=True)
        atexit.register(self._end)  # also when the search is stopped: what it has found by then
        self._launch([self._again(trial.number, trial._trial_id) for trial in self.study.get_trials(deepcopy=False)])
        while (number := len(self.study.get_trials(deepcopy=False))) < self.n_trials:
            self._launch([self._ask(number + i) for i in range(min(self.batch_size, self.n_trials - number))])
        if failed := sum(row.code != 0 for row in self.rows.values()):
            raise SweepError(f"pwfn: {failed} of {len(self.rows)} trials failed")

    def _study(self) -> Study:
        try:
            import optuna
        except ModuleNotFoundError:
            raise SweepError('pwfn: sweep=pareto needs optuna: pip install "pwfn[optuna]"') from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        file = self.folder / STUDY
        goes_on = self.config.hydra.launcher.get("resume", False) or self.config.get("resume") == "auto"
        if file.exists() and not goes_on:
            raise SweepError(f"pwfn: {file} is another search's: go on with it (-m resume_sweep={self.folder})")
        self.folder.mkdir(parents=True, exist_ok=True)
        return optuna.create_study(
            study_name="pareto",
            storage=f"sqlite:///{file}",
            directions=list(self.objectives.values()),
            load_if_exists=True,
        )

    def _ask(self, number: int) -> Asked:
        self.study.sampler = self._sampler(number)
        return self._asked(self.study.ask())

    def _again(self, number: int, trial_id: int) -> Asked:
        from optuna import Trial

        self.study.sampler = self._sampler(number)
        return self._asked(Trial(self.study, trial_id))

    def _asked(self, trial: Trial) -> Asked:
        return trial, suggested(trial, self.space)  # now, while the study has this trial's sampler

    def _sampler(self, number: int) -> Any:
        """Return a random stream for each trial, so that a killed search chooses what it would have chosen."""
        import numpy as np
        from optuna.samplers import TPESampler

        return TPESampler(
            n_startup_trials=self.n_startup, seed=int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        )

    def _launch(self, asked: Sequence[Asked]) -> None:
        if not asked:
            return
        trials, jobs = [trial for trial, _ in asked], [[*self.fixed, *lines] for _, lines in asked]
        done = self.launcher.launch(jobs, initial_job_idx=trials[0].number)
        for trial, job, returned in zip(trials, jobs, done, strict=True):
            ended = returned.status == JobStatus.COMPLETED
            row = Row(trial.number, job, _folder(returned), 0 if ended else 1)
            values = [figures(row).get(name, math.nan) for name in self.objectives]
            good = ended and all(map(math.isfinite, values))
            if ended and not good:
                print(f"pwfn: job {trial.number} gave no {' and '.join(self._missing(row))}", flush=True)
            self.rows[trial.number] = row if good else row._replace(code=1)
            if good and not self.study.trials[trial.number].state.is_finished():
                self.study.tell(trial, values)  # of one that failed nothing is told: it stays open, to be run again
        failed = sum(row.code != 0 for row in self.rows.values())
        done = f"{len(self.rows)} of {self.n_trials} trials done" + (f", {failed} of them failed" if failed else "")
        print(f"pwfn: {done}; {len(self.study.best_trials)} on the front", flush=True)

    def _why_no_validation(self) -> str | None:
        """Say which setting of the data leaves no validation images; None if some are left or trials choose."""
        if self.config.get("data") is None or any(key.partition(".")[0] == "data" for key in self.space):
            return None
        from pwfn.config.build import build
        from pwfn.config.classes import targets
        from pwfn.data import ImageData  # imports torch

        node = OmegaConf.to_container(self.config.data, resolve=True)
        assert isinstance(node, dict)
        return build(ImageData, node, "data", importable=targets(node)).why_no_validation

    def _missing(self, row: Row) -> list[str]:
        found = figures(row)
        return [name for name in self.objectives if not math.isfinite(found.get(name, math.nan))]

    def _end(self) -> None:
        """Print, save and draw the front."""
        rows = [self.rows[trial.number] for trial in self.study.best_trials if trial.number in self.rows]
        if not rows:
            return
        from pwfn.sweep.front_picture import draw_front  # imports matplotlib

        write_table(self.folder, rows, FRONT)
        points = {number: _point(row, self.objectives) for number, row in self.rows.items() if row.code == 0}
        picture = (self.folder / FRONT).with_suffix(".png")
        draw_front(points, [row.number for row in rows], tuple(self.objectives), picture)
        print(f"\nPareto front, {self._aim()}: {len(rows)} of {len(points)} trials; {picture}")
        print_table(rows)

    def _aim(self) -> str:
        return " and ".join(f"{way[:3]}imal {name}" for name, way in self.objectives.items())


def _folder(returned: JobReturn) -> Path:
    """Return the job's folder; only the process launcher gives it as `working_dir`."""
    runtime = returned.hydra_cfg.hydra.runtime if returned.hydra_cfg is not None else None
    return Path(str(runtime.output_dir if runtime is not None else returned.working_dir))


def _point(row: Row, objectives: Mapping[str, str]) -> tuple[float, float]:
    first, second = (float(figures(row)[name]) for name in objectives)
    return first, second


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
