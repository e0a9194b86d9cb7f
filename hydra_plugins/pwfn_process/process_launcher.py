"""A Hydra launcher that gives every job of a sweep an operating-system process of its own.

Lightning starts the other ranks of a DDP job by running the whole command line again. Within a sweep that would be the
whole sweep again, and the process group of one job would leak into the next. Here a job's command line is its own.

Hydra imports this module at every start, so it imports nothing heavy.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, current_thread, main_thread
from typing import NamedTuple

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.pwfn_process.sweep_table import RESULT, Row, print_table, read_result

log = logging.getLogger(__name__)

# what DDP, torchrun and Lightning tell the ranks of one job; a new job must not take itself for one of them
RANK_VARIABLES = (
    "LOCAL_RANK",
    "RANK",
    "GROUP_RANK",
    "NODE_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PL_GLOBAL_SEED",
)
# settings that make or place a sweep; a job has its own folder and is not a sweep
SWEEP_SETTINGS = ("hydra.mode", "hydra.sweep", "hydra.launcher", "hydra.sweeper", "hydra.run")
SWEEP = "PWFN_SWEEP"  # tells a job the name of its sweep: the folder's, with that of the day it is in
STOP_SECONDS = 30  # for a job to finish its step and save


class Job(NamedTuple):
    """One job of a sweep, composed but not started.

    Not a dataclass: Hydra's plugin scanner runs this module without listing it in sys.modules, where dataclasses look.
    """

    number: int
    overrides: list[str]
    folder: Path
    command: list[str]
    config: DictConfig

    def __str__(self) -> str:
        return f"job {self.number} ({' '.join(self.overrides) or 'no overrides'}) in {self.folder}"


class JobFailed(CompactHydraException):
    """Ends a sweep with exit code 1; compact, so that Hydra prints the message and no traceback of this process."""


class ProcessLauncher(Launcher):
    """Runs the jobs of a sweep, `n_jobs` at a time, and goes on when one fails; ends with a table of all of them."""

    def __init__(self, n_jobs: int = 1) -> None:
        if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs < 1:
            raise ValueError(f"hydra.launcher.n_jobs = {n_jobs!r}: must be a whole number from 1")
        self.n_jobs = n_jobs
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopped = False
        self.launched: list[Job] = []
        self.codes: dict[int, int] = {}
        self.lock = Lock()
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one batch. A failed job's return value raises `JobFailed`; what then happens is the sweeper's choice."""
        if self.config is None or self.context is None:
            raise RuntimeError("setup has to be called before launch")
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        # all jobs are composed before the first one starts, so a wrong one stops the sweep while nothing has run
        jobs = [self._job(initial_job_idx + i, list(overrides)) for i, overrides in enumerate(job_overrides)]
        if not self.launched:
            atexit.register(self._print_table)  # a sweeper that searches launches many batches, and says no last one
        self.launched += jobs
        log.info("Launching %d jobs, each in a process of its own, %d at a time", len(jobs), self.n_jobs)
        codes = self._run_all(jobs)
        for job, code in zip(jobs, codes, strict=True):
            if code != 0:
                print(f"pwfn: {job} failed with exit code {code}", file=sys.stderr, flush=True)
        failure = JobFailed(f"pwfn: {len(jobs) - codes.count(0)} of {len(jobs)} jobs failed")
        return [_job_return(job, failure if code else None) for job, code in zip(jobs, codes, strict=True)]

    def _job(self, number: int, overrides: list[str]) -> Job:
        assert self.config is not None and self.context is not None  # launch has checked
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        # the folder as Hydra's own launcher would choose it, fixed here so that the job cannot choose another
        folder = Path(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir)).absolute()
        task = list(filter_overrides(overrides))
        return Job(number, task, folder, _command(config, task, folder, number), config)

    def _run_all(self, jobs: list[Job]) -> list[int]:
        environment = self._environment()
        with ThreadPoolExecutor(self.n_jobs) as pool, _sigterm_as_exit():
            results = [pool.submit(self._run, job, environment) for job in jobs]
            try:
                return [result.result() for result in results]
            except BaseException:  # Ctrl-C and SIGTERM above all: no job may outlive its sweep
                self._stop()
                raise

    def _run(self, job: Job, environment: dict[str, str]) -> int:
        with self.lock:
            if self.stopped:
                return 1
            log.info("\t%s", job)
            job.folder.mkdir(parents=True, exist_ok=True)
            (job.folder / RESULT).unlink(missing_ok=True)  # the result of an earlier sweep is not this job's
            process = subprocess.Popen(job.command, env={**environment, **_job_environment(job.config)})
            self.running.add(process)
        try:
            self.codes[job.number] = process.wait()
            return self.codes[job.number]
        finally:
            with self.lock:
                self.running.discard(process)

    def _print_table(self) -> None:
        print_table([Row(job.number, job.overrides, job.folder, self.codes.get(job.number)) for job in self.launched])

    def _stop(self) -> None:
        with self.lock:
            self.stopped = True
            running = list(self.running)
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def _environment(self) -> dict[str, str]:
        assert self.config is not None  # launch has checked
        environment = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
        environment[SWEEP] = "/".join(Path(str(self.config.hydra.sweep.dir)).absolute().parts[-2:])
        if self.n_jobs > 1:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // self.n_jobs)))
        return environment


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """SIGTERM would end this process at once and leave its jobs running; as an exception it stops them first."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    if current_thread() is not main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _command(config: DictConfig, task: list[str], folder: Path, number: int) -> list[str]:
    """The command line of one job. No shell sees it, so only Hydra's own quoting is needed."""
    settings = [line for line in config.hydra.overrides.hydra if not _is_sweep_setting(line)]
    own = [f"hydra.run.dir={_quoted(str(folder))}", "hydra.mode=RUN", f"hydra.job.num={number}"]
    given = get_args_parser().parse_known_args()[0]
    flags = [("--config-name", config.hydra.job.config_name)]
    flags += [("--config-path", given.config_path), ("--config-dir", given.config_dir)]
    folders = [part for flag, value in flags if value is not None for part in (flag, str(value))]
    return [sys.executable, *_program(), *folders, *task, *settings, *own]


def _program() -> list[str]:
    """How this program was started: `python train.py`, or `python -m package.train`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return ["-m", spec.name.removesuffix(".__main__")] if spec is not None else [os.path.abspath(sys.argv[0])]


def _is_sweep_setting(line: str) -> bool:
    key = OverridesParser.create().parse_overrides([line])[0].key_or_group.replace("/", ".")
    return any(key == setting or key.startswith(f"{setting}.") for setting in SWEEP_SETTINGS)


def _quoted(text: str) -> str:
    """`text` as a value of Hydra's override grammar, never read as a number, a list or an interpolation."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${") + "'"


def _job_environment(config: DictConfig) -> dict[str, str]:
    return {str(name): str(value) for name, value in config.hydra.job.env_set.items()}


def _job_return(job: Job, failure: JobFailed | None) -> JobReturn:
    """What a sweeper sees of a finished job; the return value is the `objective` the job wrote to its folder, if any."""
    config = OmegaConf.masked_copy(job.config, [str(key) for key in job.config if key != "hydra"])
    done = JobReturn(overrides=job.overrides, cfg=config, working_dir=str(job.folder))
    done.status = JobStatus.COMPLETED if failure is None else JobStatus.FAILED
    done.return_value = read_result(job.folder).get("objective") if failure is None else failure
    return done
