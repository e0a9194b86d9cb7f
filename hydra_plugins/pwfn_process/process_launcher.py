"""Give every job of a sweep an operating-system process of its own, in a Hydra launcher.

Lightning starts the other ranks of a DDP job by running the whole command line again. Within a sweep that would be the
whole sweep again, and the process group of one job would leak into the next. Here a job's command line is its own.

Hydra imports this module at every start, so it imports nothing heavy.
"""

from __future__ import annotations

import atexit
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from pwfn.errors import one_line
from pwfn.records import failure, files
from pwfn.records.files import RESULT, NotWritten
from pwfn.sweep import folder as sweep_folder
from pwfn.sweep.folder import SweepError
from pwfn.sweep.job import CONSOLE, Job, environment_of_jobs, new_job, reason
from pwfn.sweep.kept_files import size_lines
from pwfn.sweep.next_steps import next_of_sweep
from pwfn.sweep.outlook import Outlook, expected, print_plan
from pwfn.sweep.parent_watch import PARENT, parent_pipe, signals_as_exit
from pwfn.sweep.table import Row, print_table, read_result, write_table

log = logging.getLogger(__name__)

STOP_SECONDS = 30  # for a job to finish its step and save
CANNOT_START = 127  # the exit code that a shell gives a command which it cannot start


class ProcessLauncher(Launcher):
    """Run `n_jobs` jobs at a time, go on when one fails, end with a table of all of them.

    With `resume` the sweep in the folder goes on: jobs that have a result are not run again.
    """

    def __init__(self, n_jobs: int = 1, resume: bool = False) -> None:
        if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs < 1:
            raise ValueError(f"hydra.launcher.n_jobs = {n_jobs!r}: must be a whole number from 1")
        self.n_jobs, self.resume = n_jobs, resume
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopped = False
        self.launched: list[Job] = []
        self.work: dict[int, dict[str, Any]] = {}
        self.codes: dict[int, int] = {}
        self.not_started: dict[int, str] = {}  # why
        self.seconds: dict[int, float] = {}
        self.lock = Lock()
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        del task_function  # the jobs' own processes call it
        self.context = hydra_context
        self.config = config
        self.resume |= config.get("resume") == "auto"
        self.sweep = Path(str(config.hydra.sweep.dir)).absolute()
        atexit.register(self._say_next)  # before a sweeper registers its table, so that these lines come last

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one batch; a failed job's return value raises `SweepError`, which the sweeper may catch."""
        if self.config is None or self.context is None:
            raise RuntimeError("setup has to be called before launch")
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        # all jobs are composed before the first one starts, so a wrong one stops the sweep while nothing has run
        jobs = [self._job(initial_job_idx + i, list(overrides)) for i, overrides in enumerate(job_overrides)]
        self._plan(jobs)
        done = {job.number: 0 for job in jobs if self.resume and job.finished}
        self.codes |= done
        todo = [job for job in jobs if job.number not in done]
        self.outlook.add([self.work[job.number] for job in todo], done=len(done))
        self._run_all(todo)
        for job in todo:
            if self.codes[job.number] != 0:
                print(f"pwfn: {job} failed: {self._reason(job)}", file=sys.stderr, flush=True)
        failed = sum(self.codes[job.number] != 0 for job in jobs)
        why = SweepError(f"pwfn: {failed} of {len(jobs)} jobs failed")
        return [_job_return(job, why if self.codes[job.number] else None) for job in jobs]

    def _job(self, number: int, overrides: list[str]) -> Job:
        assert self.config is not None  # launch has checked
        assert self.context is not None
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        # the folder as Hydra's own launcher would choose it, fixed here so that the job cannot choose another
        return new_job(config, number, overrides, self.sweep / str(config.hydra.sweep.subdir))

    def _plan(self, jobs: list[Job]) -> None:
        """Write and print the plan; later batches of a sweeper that searches are added."""
        first = not self.launched
        if first:
            self.sweep_lock = sweep_folder.lock(self.sweep)
            there = (self.sweep / files.PLAN).is_file()
            if there and not self.resume:
                raise SweepError(
                    f"pwfn: {self.sweep} holds a sweep already: go on with it (-m resume_sweep={self.sweep}), "
                    "repeat the command that started it with resume=auto, or choose another hydra.sweep.dir"
                )
            self.earlier = sweep_folder.read_plan(self.sweep) if there else None
            self.outlook = Outlook(self.n_jobs)
        if self.earlier is not None:
            sweep_folder.refuse_other_plan(self.earlier, jobs)
        self.launched += jobs
        self.work |= {job.number: expected(job.config) for job in jobs}
        try:
            sweep_folder.write_plan(self.sweep, self.launched, self.work, self.earlier)
        except NotWritten as error:
            raise SweepError(f"pwfn: {error}") from None
        if first:
            done = sum(job.finished for job in jobs) if self.resume else 0
            print_plan(self.sweep, jobs, self.work, self.n_jobs, done)
            atexit.register(self._end)  # a sweeper that searches launches many batches, and says no last one

    def _run_all(self, jobs: list[Job]) -> None:
        environment = {**environment_of_jobs(self.n_jobs), sweep_folder.SWEEP: sweep_folder.name_of(self.sweep)}
        with ThreadPoolExecutor(self.n_jobs) as pool, signals_as_exit(), parent_pipe() as descriptor:
            results = [pool.submit(self._run, job, environment, descriptor) for job in jobs]
            try:
                for result in results:
                    result.result()
            except BaseException:  # Ctrl-C and SIGTERM above all: no job may outlive its sweep
                self._stop()
                raise

    def _run(self, job: Job, environment: dict[str, str], descriptor: int) -> None:
        goes_on = self.resume and job.begun
        with ExitStack() as stack:
            with self.lock:
                if self.stopped:
                    return
                log.info("\t%s%s", job.among(self.launched), ", from its last checkpoint" if goes_on else "")
                try:
                    process = self._start(job, goes_on, environment, descriptor, stack)
                except OSError as error:  # its folder cannot be written, or the machine has no room for a process
                    self.not_started[job.number] = one_line(f"it could not be started: {error}")
                    self._ended(job, CANNOT_START, None, measured=False)
                    return
                self.running.add(process)
                began = time.monotonic()
            try:
                code = process.wait()
            finally:
                with self.lock:
                    self.running.discard(process)
        with self.lock:
            self._ended(job, code, time.monotonic() - began, measured=code == 0 and not goes_on)

    def _start(
        self, job: Job, goes_on: bool, environment: dict[str, str], descriptor: int, stack: ExitStack
    ) -> subprocess.Popen[bytes]:
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / RESULT).unlink(missing_ok=True)  # the result of an earlier sweep is not this job's
        failure.forget(job.folder)
        # several jobs at a time would write into each other's lines
        out = None if self.n_jobs == 1 else stack.enter_context((job.folder / CONSOLE).open("ab"))
        return subprocess.Popen(
            job.command_to_go_on() if goes_on else job.command,
            env={**environment, **job.environment, PARENT: str(descriptor)},
            stdout=out,
            stderr=None if out is None else subprocess.STDOUT,
            pass_fds=(descriptor, self.sweep_lock),
        )

    def _ended(self, job: Job, code: int, seconds: float | None, measured: bool) -> None:
        self.codes[job.number] = code
        if seconds is not None:
            self.seconds[job.number] = seconds
        self._write_table()
        self.outlook.ended(job.number, code == 0, self.work[job.number], seconds if measured else None)

    def _reason(self, job: Job) -> str:
        """Return in one line why a job failed; nothing of one that did not."""
        code = self.codes.get(job.number)
        return self.not_started.get(job.number) or (reason(job.folder, code) if code else "")

    def _rows(self) -> list[Row]:
        return [
            Row(
                job.number,
                job.overrides,
                job.folder,
                self.codes.get(job.number),
                self.seconds.get(job.number),
                self._reason(job),
            )
            for job in self.launched
        ]

    def _write_table(self) -> None:
        """Write the table; on a full disk it is the old one, and the jobs go on."""
        try:
            write_table(self.sweep, self._rows())
        except NotWritten as error:
            print(f"pwfn: {error}", file=sys.stderr, flush=True)

    def _end(self) -> None:
        rows = self._rows()
        self._write_table()
        for line in size_lines(rows):
            print(line)
        print_table(rows)
        if self.config is not None and self.config.get("report", False):
            from pwfn.report import report_at_end

            report_at_end(self.sweep, print)

    def _say_next(self) -> None:
        if self.launched and (self.sweep / files.PLAN).is_file():  # without a plan there is nothing to resume
            for line in next_of_sweep(self.sweep, self._rows()):
                print(line, flush=True)

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


def _job_return(job: Job, why: SweepError | None) -> JobReturn:
    """Return a finished job as sweepers see it, with the `objective` that it wrote, if any."""
    config = OmegaConf.masked_copy(job.config, [str(key) for key in job.config if key != "hydra"])
    done = JobReturn(overrides=job.overrides, cfg=config, working_dir=str(job.folder))
    done.status = JobStatus.COMPLETED if why is None else JobStatus.FAILED
    done.return_value = read_result(job.folder).get("objective") if why is None else why
    return done
